// `holdfast up`: control plane and agent in this process, on one data directory.
//
// Order of a start: everything that can be wrong with the input (configuration, manifest), the lock, the log, the control plane, the
// agent, the endpoint file, the ready line. Whatever fails in between ends what was started before. Order of an end: the reverse, with
// the workloads first if they are to end too. Workloads belong to no step of it: they are processes of their own and outlive us.
import { readFile } from 'node:fs/promises'
import { durationText } from '../../base/duration-text.ts'
import { ok, type Result } from '../../base/result.ts'
import { createClient } from '../../client/client.ts'
import { type Failure, failure } from '../../contracts/errors.ts'
import { asTyped } from '../called.ts'
import type { Core } from '../core.ts'
import { EXIT } from '../exit.ts'
import { type LoadedManifest, loadManifest } from '../manifest.ts'
import type { Output } from '../output.ts'
import { report } from '../report.ts'
import { dataDirToUse } from '../settings.ts'
import type { Outcome } from '../verb.ts'
import { showLive } from './live.ts'
import { LOG_BYTES_MAX, openLogFile } from './log-file.ts'
import { makeParts, type Parts, readConfig, startAgentPart, startControlPart } from './parts.ts'
import { createReload } from './reload.ts'
import { type Frame, serveOn } from './serve.ts'

export interface UpFlags {
  readonly manifest: string | undefined
  readonly env: string
  readonly dataDir: string | undefined
  readonly listen: string | undefined
  readonly nodeName: string | undefined
  readonly config: string | undefined
  readonly stopWorkloads: boolean
  readonly logStderr: boolean
}

const DIRECTORY_LOOK_MS = 2000
/** How long the end waits for the second Ctrl-C that ends workloads which nobody could find again. */
const AGAIN_MS = 10_000

/** A workload's grace is 10 s by default, and many stop at the same time. */
export const STOP_WORKLOADS_MS = 90_000

export async function runUp(core: Core, out: Output, flags: UpFlags): Promise<Outcome> {
  const dir = dataDirToUse(core, flags.dataDir)
  const config = await readConfig(core, dir, flags)
  if (!config.ok) return config
  const manifest = flags.manifest === undefined ? ok(undefined) : await loadManifest(core.cwd, flags.manifest, flags.env)
  if (!manifest.ok) return manifest
  return serveOn(core, out, dir, 'up', async (frame) => {
    const also = flags.logStderr || core.env.JOURNAL_STREAM ? (line: string) => void core.err.write(line) : undefined
    const logFile = openLogFile(frame.place.logFile, LOG_BYTES_MAX, also)
    if (!logFile.ok) return logFile
    frame.cleanup.add('log', async () => {
      logFile.value.close()
      const lost = logFile.value.lost()
      if (lost > 0) await out.note(`${lost} lines could not be written to ${frame.place.logFile}`)
    })
    const parts = makeParts(core, config.value.config, 'up', logFile.value.write)
    const load = () => readConfig(core, dir, flags)
    return serve({ ...frame, core, out, flags, parts, load, manifest: manifest.value })
  })
}

interface Serving extends Frame {
  readonly core: Core
  readonly out: Output
  readonly flags: UpFlags
  readonly parts: Parts
  readonly load: () => ReturnType<typeof readConfig>
  readonly manifest: LoadedManifest | undefined
}

type Started = Extract<Awaited<ReturnType<typeof startBoth>>, { readonly ok: true }>['value']

async function serve(given: Serving): Promise<Outcome> {
  const { core, out, ending, place } = given
  const started = await startBoth(given)
  if (!started.ok) return started
  const { control, agent } = started.value
  const { config, log } = given.parts
  ending.onHangup(createReload({ log, started: config, load: given.load, apply: (section) => agent.setReliability(section) }))
  if (ending.signal.aborted) return end(given, started.value, await ending.asked)
  const published = await place.publish(control.url, core.pid)
  if (!published.ok) return published
  if (out.json) await core.out.write(`${JSON.stringify({ ready: true, url: control.url, data: place.dir })}\n`)
  else await core.out.write(`holdfast ready url=${control.url} data=${place.dir}\n`)
  const watched = new AbortController()
  const guarding = watchDirectory(given, AbortSignal.any([watched.signal, ending.signal]))
  // What goes wrong while showing is shown; the platform serves on.
  const tell = async (error: unknown) => {
    if (!watched.signal.aborted) await report(core, out.json, failure('internal', error instanceof Error ? error.message : String(error)))
  }
  const watching =
    given.manifest === undefined
      ? Promise.resolve()
      : deployAndWatch(given, given.manifest, control, AbortSignal.any([watched.signal, ending.signal])).catch(tell)
  const signal = await ending.asked
  watched.abort()
  await Promise.all([watching, guarding])
  return end(given, started.value, signal)
}

async function startBoth({ parts, place, ending, cleanup }: Serving) {
  let agent: Extract<Awaited<ReturnType<typeof startAgentPart>>, { readonly ok: true }>['value'] | undefined
  const control = await startControlPart(parts, { dataDir: place.dir, agent: () => agent, present: place.present, signal: ending.signal })
  if (!control.ok) return control
  cleanup.add('control plane', () => control.value.close())
  const started = await startAgentPart(parts, { stateDir: place.stateDir, controlUrl: control.value.url, token: control.value.agentToken })
  if (!started.ok) return started
  agent = started.value
  // Closed before the control plane, which takes its last words.
  cleanup.add('agent', () => started.value.close())
  return ok({ control: control.value, agent: started.value })
}

/** Says once, and loudly, that the directory is gone: nothing works any more that needs it, and no later holdfast will know the workloads. */
async function watchDirectory({ core, out, parts, place }: Serving, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    if (!(await place.present())) {
      parts.log.error('data directory gone', { path: place.dir })
      return out.note(`${place.dir} was removed or replaced while holdfast serves from it; its workloads run on. ${goneHint}`)
    }
    await core.clock.sleep(DIRECTORY_LOOK_MS, signal).catch(() => undefined)
  }
}

const goneHint = 'No later holdfast can find them: end this one with Ctrl-C twice to end them too'

/** Shows what becomes of the manifest. A refusal is printed and the platform stays up: what ran before keeps running. */
async function deployAndWatch(given: Serving, manifest: LoadedManifest, control: Started['control'], signal: AbortSignal): Promise<void> {
  const { core, out, flags } = given
  const token = (await readFile(control.operatorTokenFile, 'utf8')).trim()
  const client = createClient({ url: control.url, token, clock: core.clock, random: core.random })
  const deployed = await client.call('deploy', { body: { manifest: { ...manifest.data }, env: flags.env }, signal })
  if (signal.aborted) return
  if (!deployed.ok) {
    await report(core, out.json, deployed.error)
    return
  }
  if (out.json) return
  const hint = asTyped('Ctrl-C stops serving; workloads keep running. Elsewhere: holdfast why NAME', core.called)
  await showLive(core, client, deployed.value, hint, signal)
}

async function end({ out, flags, parts, place, cleanup, ending }: Serving, { agent }: Started, signal: string): Promise<Outcome> {
  const byDown = await place.downWanted()
  const gone = !(await place.present())
  const stops = flags.stopWorkloads || byDown || (gone && (await askedTwice(out, ending, agent.instances)))
  parts.log.info('stopping', { signal, stop_workloads: stops })
  let stopped: Result<void, Failure> = ok(undefined)
  if (stops) stopped = await agent.stopWorkloads(STOP_WORKLOADS_MS)
  const left = agent.instances
  await cleanup.run()
  if (!stopped.ok) return stopped
  const command = flags.dataDir === undefined ? 'holdfast down' : `holdfast down --data-dir ${place.dir}`
  const find = gone ? `${place.dir} is gone, so holdfast down cannot stop them. ${FIND_THEM}` : `To stop them: ${command}`
  if (!stops) await out.note(`holdfast stopped serving; ${left === 0 ? 'there were no workloads' : `workloads keep running. ${find}`}`)
  else if (gone) await out.note(`holdfast stopped, and so did its workloads; ${place.dir} is gone, the next up begins with nothing`)
  else await out.note('holdfast stopped, and so did its workloads; the next up starts them again')
  return ok(EXIT.ok)
}

const FIND_THEM = "Processes: ps -ef | grep 'holdfast keeper'; containers: docker ps --filter label=holdfast.io/node"

async function askedTwice(out: Output, ending: Serving['ending'], instances: number): Promise<boolean> {
  if (instances === 0) return false
  await out.note(`the data directory is gone: Ctrl-C again within ${durationText(AGAIN_MS)} ends the workloads too, else they keep running`)
  const again = await ending.again(AGAIN_MS)
  if (again) await out.note('ending the workloads')
  return again
}
