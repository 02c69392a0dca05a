// `holdfast server`: the control plane alone. Agents connect to it from elsewhere; it starts none.
import { ok } from '../../base/result.ts'
import type { Core } from '../core.ts'
import { EXIT } from '../exit.ts'
import type { Output } from '../output.ts'
import { dataDirToUse } from '../settings.ts'
import type { Outcome } from '../verb.ts'
import { makeParts, readConfig, startControlPart } from './parts.ts'
import { serveOn } from './serve.ts'

export interface ServerFlags {
  readonly dataDir: string | undefined
  readonly listen: string | undefined
  readonly config: string | undefined
}

export async function runServer(core: Core, out: Output, flags: ServerFlags): Promise<Outcome> {
  const dir = dataDirToUse(core, flags.dataDir)
  const config = await readConfig(core, dir, flags)
  if (!config.ok) return config
  return serveOn(core, out, dir, 'server', async ({ place, ending, cleanup }) => {
    const parts = makeParts(core, config.value.config, 'server', (line) => void core.err.write(line))
    const control = await startControlPart(parts, { dataDir: dir, signal: ending.signal })
    if (!control.ok) return control
    cleanup.add('control plane', () => control.value.close())
    const published = await place.publish(control.value.url, core.pid)
    if (!published.ok) return published
    await out.value({ ready: true, url: control.value.url, data: dir }, () => `holdfast ready url=${control.value.url} data=${dir}\n`)
    parts.log.info('stopping', { signal: await ending.asked })
    return ok(EXIT.ok)
  })
}
