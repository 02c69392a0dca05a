// The output that drivers keep of ended incarnations, <state-dir>/instances/<id>/run/<incarnation>/, as garbage collection sees it:
// how much, how old. What may go is agent/reconcile/garbage's business; nothing here asks whether it runs.
import { readdir, rm, rmdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { err, OK, ok, type Result } from '../../base/result.ts'
import type { Failure } from '../../contracts/errors.ts'
import { InstanceId } from '../../contracts/ids.ts'
import { errnoOf, fileFailure } from '../journal/files.ts'
import type { KeptLogs } from '../model/garbage.ts'

export interface KeptLogFiles {
  list(): Promise<Result<readonly KeptLogs[], Failure>>
  /** Ok when there is nothing. What lies beside it stays. */
  discard(id: InstanceId, incarnation: number): Promise<Result<void, Failure>>
}

export function openKeptLogs(stateDir: string): KeptLogFiles {
  const root = join(stateDir, 'instances')
  return {
    async list() {
      try {
        const found: KeptLogs[] = []
        for (const name of await namesIn(root)) {
          const id = InstanceId.safeParse(name)
          if (!id.success) continue
          for (const run of await namesIn(join(root, name, 'run'))) {
            if (!/^[1-9][0-9]{0,14}$/.test(run)) continue
            found.push({ id: id.data, incarnation: Number(run), ...(await weighTree(join(root, name, 'run', run))) })
          }
        }
        return ok(found)
      } catch (error) {
        return err(fileFailure(error, root))
      }
    },
    async discard(id, incarnation) {
      const dir = join(root, id, 'run', String(incarnation))
      try {
        // The logs go first: a keeper that comes late and finds the lock just gone cannot open them, and ends before it has started anything.
        await rm(join(dir, 'logs'), { recursive: true, force: true })
        await rm(dir, { recursive: true, force: true })
        for (const above of [join(root, id, 'run'), join(root, id)]) await rmdir(above)
        return OK
      } catch (error) {
        return STAYS.has(errnoOf(error) ?? '') ? OK : err(fileFailure(error, dir))
      }
    },
  }
}

/** Something else is in it, or somebody was faster. */
const STAYS: ReadonlySet<string> = new Set(['ENOTEMPTY', 'EEXIST', 'ENOENT', 'ENOTDIR'])

async function namesIn(dir: string): Promise<readonly string[]> {
  try {
    return await readdir(dir)
  } catch (error) {
    if (STAYS.has(errnoOf(error) ?? '')) return []
    throw error
  }
}

async function weighTree(dir: string): Promise<{ readonly bytes: number; readonly atMs: number }> {
  let bytes = 0
  let atMs = 0
  for (const name of await namesIn(dir)) {
    const path = join(dir, name)
    const facts = await stat(path).catch((error: unknown) => {
      if (errnoOf(error) === 'ENOENT') return null
      throw error
    })
    if (facts === null) continue
    const inner = facts.isDirectory() ? await weighTree(path) : { bytes: facts.size, atMs: facts.mtimeMs }
    bytes += inner.bytes
    atMs = Math.max(atMs, inner.atMs)
  }
  return { bytes, atMs }
}
