// A whole control plane for tests: on a database of its own, on port 0, closed when the test ends.
import { readFile } from 'node:fs/promises'
import { onTestFinished } from 'vitest'
import { silentLogger } from '../../src/base/log.ts'
import { systemClock, systemRandom } from '../../src/base/system.ts'
import { type Client, createClient } from '../../src/client/client.ts'
import { type Control, type ControlOptions, startControl } from '../../src/control/main.ts'
import type { TelemetryLogger } from '../../src/telemetry/logger.ts'
import { createTelemetry } from '../../src/telemetry/meter.ts'
import { must } from './stores.ts'
import { tmpDir } from './tmp.ts'

export const silentTelemetryLogger: TelemetryLogger = { ...silentLogger, child: () => silentTelemetryLogger }

export interface ControlPlane extends Control {
  readonly dataDir: string
  readonly operatorToken: string
  readonly operator: Client
  as(token: string | null, more?: { readonly retryMs?: number }): Client
}

/** On port 0, quiet, on the real clock; nobody closes it. */
export const startQuietly = (given: Pick<ControlOptions, 'dataDir'> & Partial<ControlOptions>) =>
  startControl({
    listen: { host: '127.0.0.1', port: 0 },
    databaseUrl: null,
    log: silentTelemetryLogger,
    telemetry: createTelemetry({ namespace: 'holdfast' }),
    clock: systemClock,
    random: systemRandom,
    ...given,
  })

export async function controlPlane(given: Partial<ControlOptions> = {}): Promise<ControlPlane> {
  const dataDir = given.dataDir ?? (await tmpDir())
  const control = must(await startQuietly({ ...given, dataDir }))
  onTestFinished(() => control.close())
  const operatorToken = (await readFile(control.operatorTokenFile, 'utf8')).trim()
  const as: ControlPlane['as'] = (token, more = {}) =>
    createClient({ url: control.url, token, clock: systemClock, random: systemRandom, retryMs: 0, ...more })
  return { ...control, dataDir, operatorToken, operator: as(operatorToken), as }
}
