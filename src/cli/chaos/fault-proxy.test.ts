import { connect, createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { tmpDir } from '../../../tests/support/tmp.ts'
import { waitFor } from '../../../tests/support/wait.ts'
import { FaultProxy } from './fault-proxy.ts'

const ends: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end()
})

async function echoBehindProxy(at?: { readonly path: string }) {
  const sockets = new Set<Socket>()
  const echo: Server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.pipe(socket)
  })
  const port = await new Promise<number>((done) => {
    echo.listen(0, '127.0.0.1', () => {
      const address = echo.address()
      done(typeof address === 'object' && address ? address.port : 0)
    })
  })
  ends.push(async () => {
    for (const socket of sockets) socket.destroy()
    await new Promise((done) => echo.close(done))
  })
  const proxy = new FaultProxy(at ?? { host: '127.0.0.1', port: 0 }, { host: '127.0.0.1', port })
  const near = await proxy.listen()
  ends.push(() => proxy.close())
  const dial = () => {
    const state: { heard: string; closed: boolean; error: string | null } = { heard: '', closed: false, error: null }
    const socket = connect(at ?? { host: '127.0.0.1', port: near })
    socket.on('error', (error: NodeJS.ErrnoException) => {
      state.error = error.code ?? error.message
    })
    socket.on('data', (chunk) => {
      state.heard += chunk.toString()
    })
    socket.once('close', () => {
      state.closed = true
    })
    return { socket, state }
  }
  return { proxy, dial }
}

test('passes on; cut ends what there is and takes nothing new; afterwards a new connection works', async () => {
  const { proxy, dial } = await echoBehindProxy()
  const first = dial()
  first.socket.write('one')
  await waitFor(() => first.state.heard === 'one', { what: 'an echo', deadlineMs: 5000 })
  await proxy.set('cut')
  await waitFor(() => first.state.closed, { what: 'the end of it', deadlineMs: 5000 })
  const refused = dial()
  await waitFor(() => refused.state.closed, { what: 'a refusal', deadlineMs: 5000 })
  await proxy.set('none')
  const second = dial()
  second.socket.write('two')
  await waitFor(() => second.state.heard === 'two', { what: 'an echo again', deadlineMs: 5000 })
})

test('silent keeps a connection and passes nothing; when it is over the connection ends, since bytes are missing in it', async () => {
  const { proxy, dial } = await echoBehindProxy()
  const first = dial()
  first.socket.write('one')
  await waitFor(() => first.state.heard === 'one', { what: 'an echo', deadlineMs: 5000 })
  await proxy.set('silent')
  first.socket.write('lost')
  const during = dial()
  during.socket.write('lost too')
  await waitFor(() => during.socket.readyState === 'open', { what: 'half open: taken', deadlineMs: 5000 })
  expect([first.state, during.state]).toEqual([
    { heard: 'one', closed: false, error: null },
    { heard: '', closed: false, error: null },
  ])
  await proxy.set('none')
  await waitFor(() => first.state.closed && during.state.closed, { what: 'both end', deadlineMs: 5000 })
  expect(first.state.heard).toBe('one')
})

test('an absent port refuses and its connections end; it comes back as the same port', async () => {
  const { proxy, dial } = await echoBehindProxy()
  const first = dial()
  first.socket.write('one')
  await waitFor(() => first.state.heard === 'one', { what: 'an echo', deadlineMs: 5000 })
  await proxy.set('absent')
  const refused = dial()
  await waitFor(() => first.state.closed && refused.state.closed, { what: 'an end and a refusal', deadlineMs: 5000 })
  expect(refused.state.error).toBe('ECONNREFUSED')
  await proxy.set('none')
  const second = dial()
  second.socket.write('two')
  await waitFor(() => second.state.heard === 'two', { what: 'an echo again', deadlineMs: 5000 })
})

test('a socket that is absent has no path and keeps its connections; a dead one refuses and has none; both come back', async () => {
  const { proxy, dial } = await echoBehindProxy({ path: join(await tmpDir(), 's') })
  const first = dial()
  first.socket.write('one')
  await waitFor(() => first.state.heard === 'one', { what: 'an echo', deadlineMs: 5000 })
  await proxy.set('absent')
  const missing = dial()
  await waitFor(() => missing.state.closed, { what: 'nobody there', deadlineMs: 5000 })
  expect(missing.state.error).toBe('ENOENT')
  first.socket.write(' more')
  await waitFor(() => first.state.heard === 'one more', { what: 'an echo on the old connection', deadlineMs: 5000 })
  await proxy.set('dead')
  const refused = dial()
  await waitFor(() => refused.state.closed && first.state.closed, { what: 'a refusal, and the end of the old one', deadlineMs: 5000 })
  expect(refused.state.error).toBe('ECONNREFUSED')
  await proxy.set('none')
  const second = dial()
  second.socket.write('two')
  await waitFor(() => second.state.heard === 'two', { what: 'an echo again', deadlineMs: 5000 })
})
