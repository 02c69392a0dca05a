// Parts of the platform itself, named by flags: the agent, the control plane, PostgreSQL, a Docker Engine. Whatever supervises them has to start
// them again; instances have to live through it, and one that is killed meanwhile has to come back.
import { readFileSync } from 'node:fs'
import { err, OK, type Result } from '../../base/result.ts'
import { type Failure, failure } from '../../contracts/errors.ts'
import type { Target } from './host.ts'
import type { Rig, Strike } from './rig.ts'
import type { PartName, Scenario, ScenarioOptions } from './scenario.ts'
import { signalIfAlive } from './signal.ts'
import { exponentialMs } from './statistics.ts'

/** What the command line of such a process has to contain; a pid that names something else is not touched. */
const LOOKS_LIKE: Readonly<Record<PartName, RegExp>> = {
  agent: /holdfast/,
  control: /holdfast/,
  postgres: /postgres/,
  dockerd: /dockerd/,
}
const TITLES: Readonly<Record<PartName, string>> = {
  agent: 'the agent',
  control: 'the control plane',
  postgres: 'PostgreSQL',
  dockerd: 'the Docker Engine',
}

/** The pid of a part, if it is one; read anew each time, since it changes. */
export function partPid(options: ScenarioOptions, part: PartName): Result<number, Failure> {
  const pid = options.parts.pid(part)
  const flag = `--${part}-pid`
  if (pid === null)
    return err(
      failure('invalid_input', `This needs ${flag}: the pid of ${TITLES[part]} of the test, or a file that holds it.`, { field: flag }),
    )
  let words = ''
  try {
    words = readFileSync(`/proc/${pid}/cmdline`, 'utf8')
  } catch {
    // It is away; the words stay empty.
  }
  if (LOOKS_LIKE[part].test(words)) return { ok: true, value: pid }
  return err(failure('invalid_input', `Process ${pid} is not ${TITLES[part]}; it was not touched.`, { field: flag }))
}

interface PartFault {
  readonly name: string
  readonly part: PartName
  readonly does: string
  readonly signal: 'SIGKILL' | 'SIGSTOP'
  /** A stopped part goes on after this long. */
  readonly hangMs?: number
  readonly cause?: RegExp
}

function partScenario(fault: PartFault): Scenario {
  const { name, part, does, signal } = fault
  return {
    name,
    does,
    needs: `--${part}-pid${signal === 'SIGKILL' ? ', and a supervisor that starts it again' : ''}${part === 'dockerd' ? ENGINE_NEEDS : ''}`,
    control: false,
    usual: { instances: 4, faults: 3, everyMs: 3000, watchMs: 90_000 },
    async run(rig, options) {
      const first = partPid(options, part)
      if (!first.ok) return first
      const launched = await rig.launch(options.instances, 'chaos', options.launch)
      if (!launched.ok) return launched
      rig.warmUpFor(0)
      for (let made = 0; made < options.faults; made += 1) {
        await rig.clock.sleep(exponentialMs(rig.random, options.everyMs))
        const pid = partPid(options, part)
        if (!pid.ok) return pid
        const target = launched.value[made % launched.value.length] ?? null
        await Promise.all([
          rig.strike(partStrike(rig, options, fault, pid.value, target)),
          killMeanwhile(rig, launched.value, name, made, options.watchMs),
        ])
      }
      return OK
    },
  }
}

const ENGINE_NEEDS = ', --runtime docker, an engine of the test alone, with live-restore'

function partStrike(
  rig: Rig,
  options: ScenarioOptions,
  { name, part, signal, hangMs, cause }: PartFault,
  pid: number,
  target: Strike['target'],
): Strike {
  return {
    // About one instance only for the sake of `why`.
    target: cause ? target : null,
    kind: `${signal} of ${TITLES[part]}`,
    group: name,
    expects: 'trouble',
    apply: () => void process.kill(pid, signal),
    ...(hangMs !== undefined && { lift: { afterMs: hangMs, run: () => signalIfAlive(pid, 'SIGCONT') } }),
    ...(cause && { cause, whyAfterMs: hangMs === undefined ? 500 : hangMs - 500 }),
    until: async () => (hangMs !== undefined || isAnother(options, part, pid)) && (await rig.host.whole()),
    watchMs: options.watchMs,
  }
}

/** What was killed still looks whole in the moments before anybody has noticed: only what runs as another process is the part that came back. */
function isAnother(options: ScenarioOptions, part: PartName, before: number): boolean {
  const now = partPid(options, part)
  return now.ok && now.value !== before
}

/** One instance dies while a part of the platform is away. Not the one that `why` is asked about, nor the one of the time before: a second end in a row waits half a minute by design. */
export async function killMeanwhile(rig: Rig, among: readonly Target[], name: string, made: number, watchMs: number): Promise<void> {
  const target = among[(made + 1) % among.length]
  const pid = target && rig.ownPid(target)
  if (!target || !pid) return
  await rig.strike({
    target,
    kind: 'SIGKILL',
    group: `kill during ${name}`,
    expects: 'recovery',
    apply: () => void process.kill(pid, 'SIGKILL'),
    watchMs,
  })
}

const HANG_MS = 10_000

export const PART_SCENARIOS: readonly Scenario[] = [
  partScenario({
    name: 'agent-kill',
    part: 'agent',
    does: 'kills the agent, and an instance while it is away',
    signal: 'SIGKILL',
    cause: /not connected|found running when the agent started|started again/,
  }),
  partScenario({
    name: 'control-kill',
    part: 'control',
    does: 'kills the control plane, and an instance while it is away',
    signal: 'SIGKILL',
  }),
  partScenario({ name: 'postgres-kill', part: 'postgres', does: 'kills PostgreSQL, and an instance while it is away', signal: 'SIGKILL' }),
  partScenario({
    name: 'dockerd-kill',
    part: 'dockerd',
    does: 'kills the Docker Engine; what it ended with it has to come back',
    signal: 'SIGKILL',
  }),
  partScenario({
    name: 'dockerd-hang',
    part: 'dockerd',
    does: `stops the Docker Engine for ${HANG_MS / 1000} s by SIGSTOP; nothing may be concluded from its silence`,
    signal: 'SIGSTOP',
    hangMs: HANG_MS,
    cause: /runtime docker .*cannot be used/,
  }),
]

/** A creation and a start at the engine take about so long; the kill falls anywhere into it. */
const CREATION_MS = 500

export const engineMidCreate: Scenario = {
  name: 'dockerd-mid-create',
  does: 'launches instances and kills the Docker Engine while it makes the container of each',
  needs: `--dockerd-pid, and a supervisor that starts it again${ENGINE_NEEDS}`,
  control: false,
  usual: { instances: 2, faults: 3, everyMs: 3000, watchMs: 90_000 },
  async run(rig, options) {
    const launched = await rig.launch(options.instances, 'bystander', options.launch)
    if (!launched.ok) return launched
    rig.warmUpFor(0)
    for (let made = 0; made < options.faults; made += 1) {
      await rig.clock.sleep(exponentialMs(rig.random, options.everyMs))
      const pid = partPid(options, 'dockerd')
      if (!pid.ok) return pid
      const added = await rig.add(`mid-${rig.run}-${made}`, options.launch)
      if (!added.ok) return added
      await rig.clock.sleep(rig.random.fraction() * CREATION_MS)
      await rig.strike({
        target: added.value,
        kind: 'SIGKILL of the Docker Engine',
        group: 'engine killed while making it',
        // Where its first life got through, that one may go on.
        expects: 'trouble',
        apply: () => signalIfAlive(pid.value, 'SIGKILL'),
        until: async () =>
          isAnother(options, 'dockerd', pid.value) && (await rig.host.whole()) && rig.oracle.serving(added.value.name) !== null,
        watchMs: options.watchMs,
      })
    }
    return OK
  },
}
