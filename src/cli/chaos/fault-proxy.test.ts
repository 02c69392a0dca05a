import { connect, createServer, type Server, type Socket } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import { waitFor } from '../../../tests/support/wait.ts'
import { FaultProxy } from './fault-proxy.ts'

const ends: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end()
})

async function echoBehindProxy() {
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
  const proxy = new FaultProxy({ host: '127.0.0.1', port })
  const near = await proxy.listen('127.0.0.1', 0)
  ends.push(() => proxy.close())
  const dial = () => {
    const state = { heard: '', closed: false }
    const socket = connect({ host: '127.0.0.1', port: near })
    socket.on('error', () => {})
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
  proxy.set('cut')
  await waitFor(() => first.state.closed, { what: 'the end of it', deadlineMs: 5000 })
  const refused = dial()
  await waitFor(() => refused.state.closed, { what: 'a refusal', deadlineMs: 5000 })
  proxy.set('none')
  const second = dial()
  second.socket.write('two')
  await waitFor(() => second.state.heard === 'two', { what: 'an echo again', deadlineMs: 5000 })
})

test('silent keeps a connection and passes nothing; when it is over the connection ends, since bytes are missing in it', async () => {
  const { proxy, dial } = await echoBehindProxy()
  const first = dial()
  first.socket.write('one')
  await waitFor(() => first.state.heard === 'one', { what: 'an echo', deadlineMs: 5000 })
  proxy.set('silent')
  first.socket.write('lost')
  const during = dial()
  during.socket.write('lost too')
  await waitFor(() => during.socket.readyState === 'open', { what: 'half open: taken', deadlineMs: 5000 })
  expect([first.state, during.state]).toEqual([
    { heard: 'one', closed: false },
    { heard: '', closed: false },
  ])
  proxy.set('none')
  await waitFor(() => first.state.closed && during.state.closed, { what: 'both end', deadlineMs: 5000 })
  expect(first.state.heard).toBe('one')
})
