// What the driver keeps on the node: <state-dir>/instances/<id>/run/<incarnation>/… , and the identity of the data directory.
// Files are replaced whole. A full disk is a typed failure, never an exception.
import { mkdir, open, readdir, readFile, rename, rm, rmdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { z } from 'zod'
import type { Random } from '../../../base/clock.ts'
import { err, OK, ok, type Result } from '../../../base/result.ts'
import { type Failure, failure } from '../../../contracts/errors.ts'
import type { InstanceId } from '../../../contracts/ids.ts'
import type { Target } from '../driver.ts'

const FULL = new Set(['ENOSPC', 'EDQUOT'])
/** Saved logs and cloud-init results of this many incarnations stay; a crash loop must not fill the disk. */
const INCARNATIONS_KEPT = 10

export class InstanceFiles {
  readonly #stateDir: string
  readonly #random: Random
  #stateId: Promise<Result<string, Failure>> | undefined

  constructor(stateDir: string, random: Random) {
    this.#stateDir = stateDir
    this.#random = random
  }

  /** A random name made once per data directory: it moves with the directory, and a new directory is a new owner. */
  stateId(): Promise<Result<string, Failure>> {
    this.#stateId ??= this.#loadStateId().then((result) => {
      if (!result.ok) this.#stateId = undefined
      return result
    })
    return this.#stateId
  }

  async #loadStateId(): Promise<Result<string, Failure>> {
    const path = join(this.#stateDir, 'docker-state-id')
    const kept = (await readText(path))?.trim()
    if (kept !== undefined && /^[0-9a-z]{16}$/.test(kept)) return ok(kept)
    const made = this.#random.text(16)
    const written = await writeWhole(this.#stateDir, 'docker-state-id', `${made}\n`, true)
    return written.ok ? ok(made) : written
  }

  runDir(target: Pick<Target, 'id' | 'incarnation'>): string {
    return join(this.#instanceRuns(target.id), String(target.incarnation))
  }

  read(target: Pick<Target, 'id' | 'incarnation'>, name: string): Promise<string | undefined> {
    return readText(join(this.runDir(target), name))
  }

  write(
    target: Pick<Target, 'id' | 'incarnation'>,
    name: string,
    content: string | Uint8Array,
    durable = false,
  ): Promise<Result<void, Failure>> {
    return writeWhole(this.runDir(target), name, content, durable)
  }

  /** Bytes of a file with its time, or undefined when there is none. */
  async readSaved(target: Pick<Target, 'id' | 'incarnation'>, name: string): Promise<{ bytes: Buffer; atMs: number } | undefined> {
    const path = join(this.runDir(target), name)
    try {
      const [bytes, facts] = await Promise.all([readFile(path), stat(path)])
      return { bytes, atMs: facts.mtimeMs }
    } catch {
      return undefined
    }
  }

  /** Removes what is kept of incarnations long past. Best effort: the next one tries again. */
  async prune(target: Pick<Target, 'id' | 'incarnation'>): Promise<void> {
    const root = this.#instanceRuns(target.id)
    const names = await readdir(root).catch(() => [])
    const old = names.map(Number).filter((incarnation) => incarnation > 0 && incarnation <= target.incarnation - INCARNATIONS_KEPT)
    await Promise.all(
      old.map((incarnation) => rm(join(root, String(incarnation)), { recursive: true, force: true }).catch(() => undefined)),
    )
  }

  /** Everything of the instance; its directory too, unless somebody else keeps something in it. */
  async forget(id: InstanceId): Promise<Result<void, Failure>> {
    const root = this.#instanceRuns(id)
    try {
      await rm(root, { recursive: true, force: true })
      await rmdir(join(this.#stateDir, 'instances', id)).catch((error: unknown) => {
        if (!['ENOTEMPTY', 'EEXIST', 'ENOENT'].includes(errnoOf(error))) throw error
      })
      return OK
    } catch (error) {
      return err(fileFailure(error, root))
    }
  }

  #instanceRuns(id: InstanceId): string {
    return join(this.#stateDir, 'instances', id, 'run')
  }
}

/** A JSON file of ours, or undefined when it is absent or not what we write. */
export function parseKept<T>(text: string | undefined, schema: z.ZodType<T>): T | undefined {
  if (text === undefined) return undefined
  try {
    return schema.safeParse(JSON.parse(text)).data
  } catch {
    return undefined
  }
}

async function writeWhole(directory: string, name: string, content: string | Uint8Array, durable: boolean): Promise<Result<void, Failure>> {
  const path = join(directory, name)
  const temporary = `${path}.new`
  try {
    await mkdir(directory, { recursive: true, mode: 0o700 })
    const file = await open(temporary, 'w', 0o600)
    try {
      await file.writeFile(content)
      if (durable) await file.sync()
    } finally {
      await file.close()
    }
    await rename(temporary, path)
    return OK
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined)
    return err(fileFailure(error, path))
  }
}

async function readText(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch {
    return undefined
  }
}

const errnoOf = (error: unknown): string => (error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '')

export const fileFailure = (error: unknown, path: string): Failure =>
  failure(FULL.has(errnoOf(error)) ? 'disk_full' : 'file_error', `${path}: ${errnoOf(error) || 'failed'}`, { path }, error)
