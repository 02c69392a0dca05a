// Who this node is (PLACE-6). Given by HOLDFAST_NODE_ID or PERSYS_NODE_ID; else derived from hostname and machine-id, else from hostname
// and the MAC of the first interface that has one. A derived id is kept in the state directory: a changed hostname or a new network
// card must not make a node a stranger to its own instances. The machine-id itself is never shown: only its hash enters.
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { mkdir, readFile } from 'node:fs/promises'
import { hostname, networkInterfaces } from 'node:os'
import { join } from 'node:path'
import type { Random } from '../base/clock.ts'
import { errnoOf } from '../base/errno.ts'
import { err, ok, type Result } from '../base/result.ts'
import { type Failure, failure } from '../contracts/errors.ts'
import { NodeId } from '../contracts/ids.ts'
import { fileFailure, writeAtomic } from './journal/files.ts'

export interface IdentitySources {
  /** Values of HOLDFAST_NODE_ID and PERSYS_NODE_ID, in that order; empty and `auto` mean derive. */
  readonly given: readonly (string | undefined)[]
  hostname(): string
  /** Content of /etc/machine-id; null when there is none. */
  machineId(): string | null
  /** Interfaces in the kernel's order. */
  interfaces(): readonly { readonly name: string; readonly mac: string; readonly internal: boolean }[]
}

/** This machine itself. */
export const machineSources = (given: IdentitySources['given']): IdentitySources => ({
  given,
  hostname,
  machineId,
  interfaces: () =>
    Object.entries(networkInterfaces()).flatMap(([name, all]) =>
      (all ?? []).slice(0, 1).map(({ mac, internal }) => ({ name, mac, internal })),
    ),
})

function machineId(): string | null {
  try {
    return readFileSync('/etc/machine-id', 'utf8')
  } catch {
    // Absent in many containers; the identity has a second source.
    return null
  }
}

const HASH_LENGTH = 12
const HOSTNAME_MAX = 63 - HASH_LENGTH - 1
const NO_MAC = '00:00:00:00:00:00'

export async function nodeIdentity(stateDir: string, sources: IdentitySources): Promise<Result<NodeId, Failure>> {
  const given = sources.given.map((text) => text?.trim()).find((text) => text !== undefined && text !== '' && text !== 'auto')
  if (given !== undefined) return parseNodeId(given)
  const path = join(stateDir, 'node-id')
  const kept = await keptId(path)
  if (!kept.ok) return kept
  if (kept.value !== null) return parseNodeId(kept.value)
  const derived = derive(sources)
  if (!derived.ok) return derived
  try {
    await mkdir(stateDir, { recursive: true, mode: 0o700 })
  } catch (error) {
    return err(fileFailure(error, stateDir))
  }
  const written = await writeAtomic(path, Buffer.from(`${derived.value}\n`))
  return written.ok ? derived : written
}

/**
 * The mark of one start of an agent: `STATE.START`. The first part is made once per state directory, so that the control plane can tell
 * this agent started anew from another one that was given the same node id, and must not be handed what the first one runs.
 */
export async function bootMark(stateDir: string, random: Random): Promise<Result<string, Failure>> {
  const path = join(stateDir, 'agent-id')
  const kept = await keptId(path)
  if (!kept.ok) return kept
  const start = random.text(20)
  if (kept.value !== null && /^[0-9a-z]{16}$/.test(kept.value)) return ok(`${kept.value}.${start}`)
  const made = random.text(16)
  try {
    await mkdir(stateDir, { recursive: true, mode: 0o700 })
  } catch (error) {
    return err(fileFailure(error, stateDir))
  }
  const written = await writeAtomic(path, Buffer.from(`${made}\n`))
  return written.ok ? ok(`${made}.${start}`) : written
}

export function parseNodeId(text: string): Result<NodeId, Failure> {
  const parsed = NodeId.safeParse(text)
  if (parsed.success) return ok(parsed.data)
  return err(
    failure('invalid_config', `HOLDFAST_NODE_ID is ${JSON.stringify(text)}; it ${parsed.error.issues[0]?.message ?? 'is not a node id'}.`, {
      field: 'HOLDFAST_NODE_ID',
    }),
  )
}

async function keptId(path: string): Promise<Result<string | null, Failure>> {
  try {
    return ok((await readFile(path, 'utf8')).trim() || null)
  } catch (error) {
    return errnoOf(error) === 'ENOENT' ? ok(null) : err(fileFailure(error, path))
  }
}

function derive(sources: IdentitySources): Result<NodeId, Failure> {
  const machineId = sources.machineId()?.trim()
  const source = machineId || sources.interfaces().find(({ mac, internal }) => !internal && mac !== '' && mac !== NO_MAC)?.mac
  if (!source)
    return err(
      failure(
        'invalid_config',
        'This machine has neither /etc/machine-id nor a network interface with a MAC address; set HOLDFAST_NODE_ID to a name of your choice.',
        { field: 'HOLDFAST_NODE_ID' },
      ),
    )
  const hash = createHash('sha256').update(source).digest('hex').slice(0, HASH_LENGTH)
  return parseNodeId(`${hostPart(sources.hostname())}-${hash}`)
}

/** The hostname within the pattern of a node id: lower case, other characters become dashes, never empty. */
const hostPart = (hostname: string): string =>
  hostname
    .toLowerCase()
    .replaceAll(/[^a-z0-9.-]+/g, '-')
    .slice(0, HOSTNAME_MAX)
    .replace(/^[^a-z0-9]+/, '')
    .replace(/[^a-z0-9]+$/, '') || 'node'
