// Connections to a server that dies at the worst moment.
import { createServer } from 'node:net'
import { sql } from 'kysely'
import { expect, onTestFinished, test } from 'vitest'
import { RecordingLog } from '../../../tests/support/recording-log.ts'
import { attempt } from './attempt.ts'
import { clientConfig, openPool, SHORT } from './pool.ts'

const message = (type: string, body: Buffer) => {
  const head = Buffer.alloc(5)
  head.write(type)
  head.writeInt32BE(body.length + 4, 1)
  return Buffer.concat([head, body])
}
const AUTHENTICATED = message('R', Buffer.alloc(4))
const READY = message('Z', Buffer.from('I'))
const FAREWELL = message('E', Buffer.from('SFATAL\0VFATAL\0C57P01\0Mterminating connection due to unexpected postmaster exit\0\0'))

test('a server that dies in the moment of its welcome is a store that is away, and not the end of this process', async () => {
  const server = createServer((socket) => socket.once('data', () => socket.end(Buffer.concat([AUTHENTICATED, READY, FAREWELL]))))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => new Promise<void>((resolve) => void server.close(() => resolve())))
  const address = server.address()
  const port = address !== null && typeof address === 'object' ? address.port : 0
  const pool = openPool(clientConfig({ url: `postgres://u@127.0.0.1:${port}/d` }, SHORT), 1, new RecordingLog())
  onTestFinished(() => pool.close())
  const answer = await attempt(() => sql`select 1`.execute(pool.db))
  expect(answer).toMatchObject({ ok: false, error: { code: 'store_unavailable' } })
})
