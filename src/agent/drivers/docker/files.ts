// What the driver keeps on the node: <state-dir>/instances/<id>/run/<incarnation>/… , and the identity of the data directory.
// Files are replaced whole. A full disk is a typed failure, never an exception. Only a file that is absent reads as none: one that cannot be
// read, or is not what was written, is a failure, because a guess in its place would make strangers of our own containers.
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

  /** Null when there is none yet: this makes none. */
  async readStateId(): Promise<Result<string | null, Failure>> {
    const path = join(this.#stateDir, 'docker-state-id')
    const kept = await readText(path)
    if (!kept.ok || kept.value === null) return kept
    return /^[0-9a-z]{16}\n?$/.test(kept.value) ? ok(kept.value.trim()) : err(unlikeWritten(path))
  }

  async #loadStateId(): Promise<Result<string, Failure>> {
    const kept = await this.readStateId()
    if (!kept.ok) return kept
    if (kept.value !== null) return ok(kept.value)
    const made = this.#random.text(16)
    const written = await writeWhole(this.#stateDir, 'docker-state-id', `${made}\n`, true)
    return written.ok ? ok(made) : written
  }

  /** A JSON file of the driver itself; null when it is absent. */
  async readOwn<T>(name: string, schema: z.ZodType<T>): Promise<Result<T | null, Failure>> {
    return readJson(join(this.#stateDir, name), schema)
  }

  writeOwn(name: string, content: string): Promise<Result<void, Failure>> {
    return writeWhole(this.#stateDir, name, content, true)
  }

  runDir(target: Pick<Target, 'id' | 'incarnation'>): string {
    return join(this.#instanceRuns(target.id), String(target.incarnation))
  }

  /** A JSON file of ours; null when it is absent. Fails with `file_error`, also when it is not what we write. */
  async read<T>(target: Pick<Target, 'id' | 'incarnation'>, name: string, schema: z.ZodType<T>): Promise<Result<T | null, Failure>> {
    return readJson(join(this.runDir(target), name), schema)
  }

  write(
    target: Pick<Target, 'id' | 'incarnation'>,
    name: string,
    content: string | Uint8Array,
    durable = false,
  ): Promise<Result<void, Failure>> {
    return writeWhole(this.runDir(target), name, content, durable)
  }

  /** Bytes of a file with its time, or null when there is none. */
  readSaved(
    target: Pick<Target, 'id' | 'incarnation'>,
    name: string,
  ): Promise<Result<{ readonly bytes: Buffer; readonly atMs: number } | null, Failure>> {
    const path = join(this.runDir(target), name)
    return ifThere(path, async () => {
      const [bytes, facts] = await Promise.all([readFile(path), stat(path)])
      return { bytes, atMs: facts.mtimeMs }
    })
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
    if (durable) await syncDirectory(directory)
    return OK
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined)
    return err(fileFailure(error, path))
  }
}

async function readJson<T>(path: string, schema: z.ZodType<T>): Promise<Result<T | null, Failure>> {
  const text = await readText(path)
  if (!text.ok || text.value === null) return text.ok ? ok(null) : text
  const parsed = schema.safeParse(jsonOf(text.value))
  return parsed.success ? ok(parsed.data) : err(unlikeWritten(path))
}

/** Without it a power cut may take the new name away again, and the node would take its own containers for somebody else's. */
async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

const readText = (path: string): Promise<Result<string | null, Failure>> => ifThere(path, () => readFile(path, 'utf8'))

async function ifThere<T>(path: string, read: () => Promise<T>): Promise<Result<T | null, Failure>> {
  try {
    return ok(await read())
  } catch (error) {
    return errnoOf(error) === 'ENOENT' ? ok(null) : err(fileFailure(error, path))
  }
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

const unlikeWritten = (path: string): Failure => failure('file_error', `${path} is not what was written there.`, { path })

const errnoOf = (error: unknown): string => (error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '')

export const fileFailure = (error: unknown, path: string): Failure =>
  failure(FULL.has(errnoOf(error)) ? 'disk_full' : 'file_error', `${path}: ${errnoOf(error) || 'failed'}`, { path }, error)
