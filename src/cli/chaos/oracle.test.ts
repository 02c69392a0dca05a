// The judge, against a real workload: it has to see each end, each new life and each silence, and to invent none.
import { type ChildProcess, spawn } from 'node:child_process'
import { createServer } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import { describeNeeds } from '../../../tests/support/needs.ts'
import { waitFor } from '../../../tests/support/wait.ts'
import { systemClock, systemRandom } from '../../base/system.ts'
import { order } from './heartbeat.ts'
import { Oracle } from './oracle.ts'
import { workload } from './workload.ts'

const alive = new Set<ChildProcess>()
afterEach(async () => {
  for (const child of alive) child.kill('SIGKILL')
  await waitFor(() => [...alive].every((child) => child.exitCode !== null || child.signalCode !== null), {
    what: 'all ended',
    deadlineMs: 5000,
  })
  alive.clear()
})

const freePort = () =>
  new Promise<number>((done) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => done(typeof address === 'object' && address ? address.port : 0))
    })
  })

function start(port: number): ChildProcess {
  const [program = '', ...words] = workload({ name: 'a', run: 'r' }).command ?? []
  const child = spawn(program, words, { stdio: 'ignore', env: { ...process.env, PORT: String(port) } })
  alive.add(child)
  return child
}

async function watched() {
  const port = await freePort()
  const child = start(port)
  const oracle = new Oracle({ clock: systemClock, random: systemRandom, pollMs: 20, answerMs: 300 })
  oracle.watch('a', async () => port)
  await waitFor(() => oracle.serving('a') !== null, { what: 'it serves', deadlineMs: 10_000 })
  return { port, child, oracle }
}

describeNeeds('perl', 'the oracle', () => {
  test('asks again where it is as long as it was never found there', async () => {
    const [wrong, right] = [await freePort(), await freePort()]
    start(right)
    const oracle = new Oracle({ clock: systemClock, random: systemRandom, pollMs: 20, answerMs: 300 })
    const ports = [wrong, right]
    oracle.watch('a', async () => ports.shift() ?? right)
    await waitFor(() => oracle.serving('a') !== null, { what: 'it is found', deadlineMs: 10_000 })
    await oracle.close()
  })
  test('sees that a process was killed, when, and that its successor is another life', async () => {
    const { port, child, oracle } = await watched()
    const before = oracle.serving('a')
    expect(before?.pid).toBe(child.pid)
    const atMs = systemClock.elapsedMs()
    const next = oracle.next('a', (beat) => beat.life !== before?.life, 10_000)
    child.kill('SIGKILL')
    await waitFor(() => oracle.open().length === 1, { what: 'the end is seen', deadlineMs: 5000 })
    const second = start(port)
    const beat = await next
    expect(beat?.pid).toBe(second.pid)
    expect(beat?.atMs).toBeGreaterThan(atMs)
    expect(oracle.outages).toMatchObject([{ name: 'a', lastBeat: { life: before?.life }, over: { life: beat?.life } }])
    expect(oracle.outages[0]?.noticedAtMs).toBeGreaterThanOrEqual(atMs)
    await oracle.close()
  })

  test('tells a process that hangs from one that ended: the same life goes on', async () => {
    const { child, oracle } = await watched()
    const before = oracle.serving('a')
    child.kill('SIGSTOP')
    await waitFor(() => oracle.serving('a') === null, { what: 'the silence is seen', deadlineMs: 5000 })
    child.kill('SIGCONT')
    await waitFor(() => oracle.serving('a') !== null, { what: 'it serves again', deadlineMs: 5000 })
    expect(oracle.serving('a')?.life).toBe(before?.life)
    expect(oracle.outages.every(({ over }) => over?.life === before?.life)).toBe(true)
    await oracle.close()
  })

  test('an order ends the workload from within, with the code that was asked for', async () => {
    const { port, child, oracle } = await watched()
    await order(port, 'exit 3')
    await waitFor(() => child.exitCode === 3, { what: 'exit 3', deadlineMs: 5000 })
    await oracle.close()
  })

  test('whoever answers without the nonce is nobody', async () => {
    const liar = createServer((socket) => {
      socket.on('error', () => {})
      socket.on('data', () => socket.write('other life-1 77\n'))
    })
    const port = await new Promise<number>((done) => {
      liar.listen(0, '127.0.0.1', () => {
        const address = liar.address()
        done(typeof address === 'object' && address ? address.port : 0)
      })
    })
    let asked = 0
    const oracle = new Oracle({ clock: systemClock, random: systemRandom, pollMs: 5, answerMs: 100 })
    liar.on('connection', () => {
      asked += 1
    })
    oracle.watch('a', async () => port)
    await waitFor(() => asked > 3, { what: 'it was asked', deadlineMs: 5000 })
    expect(oracle.serving('a')).toBeNull()
    await oracle.close()
    await new Promise((done) => liar.close(done))
  })
})
