// What a test run may not leave behind: processes, containers, mounts, files. Everything a run starts inherits its mark in the
// environment or works below its temporary root; what a workload was given a clean environment for is still found by its directory.
// Nothing is looked for by name, so other runs and the machine's own processes are never touched.
import { readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { engineCall } from './probes.ts'
import { RUN_VARIABLE, runRoot } from './run.ts'

interface FoundProcess {
  readonly pid: number
  readonly command: string
  readonly because: 'environment' | 'directory' | 'arguments'
}

/** Processes that belong to the run, without this one, its ancestors and the given ones. Zombies hold nothing and do not count. */
export function markedProcesses(run: string, except: ReadonlySet<number> = new Set()): readonly FoundProcess[] {
  const excluded = new Set([...except, ...lineOf(process.pid)])
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => !excluded.has(pid))
    .flatMap((pid) => {
      const because = markOf(pid, run)
      return because === undefined ? [] : [{ pid, command: commandOf(pid), because }]
    })
}

function markOf(pid: number, run: string): FoundProcess['because'] | undefined {
  const root = runRoot(run)
  if (stateOf(pid) === 'Z') return undefined
  const environment = quietly(() => readFileSync(`/proc/${pid}/environ`, 'latin1'))?.split('\0')
  if (environment?.includes(`${RUN_VARIABLE}=${run}`)) return 'environment'
  const directory = quietly(() => readlinkSync(`/proc/${pid}/cwd`))
  if (directory === root || directory?.startsWith(`${root}/`)) return 'directory'
  return commandOf(pid).includes(`${root}/`) ? 'arguments' : undefined
}

/** Ends everything of the run at once, test workers included, and again until nothing new has been started in between. */
export function endMarked(run: string): void {
  for (let round = 0; round < 10; round++) {
    const found = markedProcesses(run)
    if (found.length === 0) break
    for (const { pid } of found) quietly(() => process.kill(pid, 'SIGKILL'))
  }
  quietly(() => rmSync(runRoot(run), { recursive: true, force: true, maxRetries: 3, retryDelay: 50 }))
}

/** vitest's own workers and watchdog, alive until our teardown has run. Tests start theirs from a worker, and orphans go to PID 1. */
function childrenOf(parent: number): ReadonlySet<number> {
  const children = quietly(() => readFileSync(`/proc/${parent}/task/${parent}/children`, 'utf8')) ?? ''
  return new Set(children.split(' ').filter(Boolean).map(Number))
}

/** Containers whose names, labels, command or mounts carry the mark of the run. */
async function markedContainers(run: string, socketPath: string): Promise<readonly { readonly id: string; readonly name: string }[]> {
  const answer = await engineCall(socketPath, 'GET', '/containers/json?all=1').catch(() => undefined)
  if (answer?.status !== 200) return []
  const containers = JSON.parse(answer.body) as readonly { readonly Id: string; readonly Names: readonly string[] }[]
  return containers.filter((one) => JSON.stringify(one).includes(run)).map((one) => ({ id: one.Id, name: one.Names[0] ?? one.Id }))
}

function markedMounts(run: string): readonly string[] {
  const table = readFileSync('/proc/self/mountinfo', 'utf8').split('\n')
  return table.map((line) => line.split(' ')[4] ?? '').filter((target) => target.startsWith(`${runRoot(run)}/`))
}

interface Sweep {
  readonly run: string
  readonly socketPath: string
  readonly patienceMs: number
  /** The process whose own children are the test machinery and no leaks. */
  readonly runner?: number
}

/** Waits for what is just ending, then ends the rest itself and names it, one line each. Empty: the run was clean. */
export async function sweep({ run, socketPath, patienceMs, runner }: Sweep): Promise<readonly string[]> {
  const endMs = performance.now() + patienceMs
  const look = async () => ({
    processes: markedProcesses(run, runner === undefined ? new Set() : childrenOf(runner)),
    containers: await markedContainers(run, socketPath),
  })
  let { processes, containers } = await look()
  while (processes.length + containers.length > 0 && performance.now() < endMs) {
    await sleep(100)
    ;({ processes, containers } = await look())
  }
  const leaks = [
    ...processes.map(({ pid, command, because }) => `process ${pid} (by ${because}): ${command.slice(0, 200)}`),
    ...containers.map(({ id, name }) => `container ${id.slice(0, 12)} ${name}`),
    ...markedMounts(run).map((target) => `mount ${target}`),
  ]
  for (const { pid } of processes) quietly(() => process.kill(pid, 'SIGKILL'))
  for (const { id } of containers) await engineCall(socketPath, 'DELETE', `/containers/${id}?force=1&v=1`).catch(() => undefined)
  await rm(runRoot(run), { recursive: true, force: true, maxRetries: 5, retryDelay: 100 }).catch((error: unknown) =>
    leaks.push(`directory ${runRoot(run)}: ${String(error)}`),
  )
  return leaks
}

function lineOf(pid: number): readonly number[] {
  const parent = Number(statFields(pid)?.[1] ?? 0)
  return parent > 0 ? [pid, ...lineOf(parent)] : [pid]
}

function stateOf(pid: number): string | undefined {
  return statFields(pid)?.[0]
}

/** Fields of /proc/PID/stat after the command name, which may hold spaces and parentheses of its own: state, parent, … */
function statFields(pid: number): readonly string[] | undefined {
  const stat = quietly(() => readFileSync(`/proc/${pid}/stat`, 'latin1'))
  return stat?.slice(stat.lastIndexOf(')') + 2).split(' ')
}

function commandOf(pid: number): string {
  return (quietly(() => readFileSync(`/proc/${pid}/cmdline`, 'latin1')) ?? '').replaceAll('\0', ' ').trim()
}

/** A process may end between two looks at it: then there is nothing to see. */
function quietly<T>(look: () => T): T | undefined {
  try {
    return look()
  } catch {
    return undefined
  }
}
