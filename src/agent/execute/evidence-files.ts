// What is kept of an instance of which nothing else is left: <state-dir>/evidence/<id>/{evidence.json, <incarnation>.stdout, …}, for
// its owner only. A reader finds the whole of it or nothing: it is written beside its place and renamed. Output and typed errors,
// never a spec, an environment or user data. How long and how much is agent/reconcile/garbage's business.
import { mkdir, readdir, readFile, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { err, OK, ok, type Result } from '../../base/result.ts'
import { type Failure, failure } from '../../contracts/errors.ts'
import { InstanceId } from '../../contracts/ids.ts'
import { Attempt, LastError } from '../../contracts/phase.ts'
import { Runtime } from '../../contracts/spec.ts'
import { errnoOf, fileFailure, removeDir, sweepRemoved, syncDir, writeAtomic } from '../journal/files.ts'
import type { KeptEvidence } from '../model/garbage.ts'

const Facts = z.object({
  id: InstanceId,
  name: z.string().nullable(),
  runtime: Runtime,
  savedAtMs: z.number(),
  lastError: LastError.nullable(),
  attempts: z.array(Attempt),
  incarnations: z.array(z.number().int().min(1)),
})

export interface Output {
  readonly incarnation: number
  readonly stdout: Uint8Array
  readonly stderr: Uint8Array
}

export interface Evidence extends Omit<z.infer<typeof Facts>, 'incarnations'> {
  /** Oldest incarnation first. */
  readonly outputs: readonly Output[]
}

export interface EvidenceFiles {
  /** Replaces what was kept of the instance. Durable when ok. */
  keep(evidence: Evidence): Promise<Result<void, Failure>>
  /** Null when nothing is kept of it. */
  read(id: InstanceId): Promise<Result<Evidence | null, Failure>>
  list(): Promise<Result<readonly KeptEvidence[], Failure>>
  /** Ok when there is none. */
  drop(id: InstanceId): Promise<Result<void, Failure>>
}

const NEW = '.new'

export function openEvidenceFiles(stateDir: string): EvidenceFiles {
  const root = join(stateDir, 'evidence')
  return {
    async keep(evidence) {
      const place = join(root, evidence.id)
      const made = `${place}${NEW}`
      try {
        await rm(made, { recursive: true, force: true })
        await mkdir(made, { recursive: true, mode: 0o700 })
        const written = await writeAll(made, evidence)
        if (!written.ok) {
          await rm(made, { recursive: true, force: true })
          return written
        }
        const removed = await removeDir(place)
        if (!removed.ok) return removed
        await rename(made, place)
        await syncDir(root)
        return OK
      } catch (error) {
        return err(fileFailure(error, made))
      }
    },
    read: (id) => readOne(join(root, id)),
    async list() {
      try {
        const swept = await sweepRemoved(root)
        if (!swept.ok) return swept
        const found: KeptEvidence[] = []
        for (const name of await readdir(root)) {
          const id = InstanceId.safeParse(name)
          if (id.success) found.push({ id: id.data, ...(await sizeOf(join(root, name))) })
          else if (name.endsWith(NEW)) await rm(join(root, name), { recursive: true, force: true })
        }
        return ok(found)
      } catch (error) {
        return errnoOf(error) === 'ENOENT' ? ok([]) : err(fileFailure(error, root))
      }
    },
    drop: (id) => removeDir(join(root, id)),
  }
}

async function writeAll(dir: string, { outputs, ...facts }: Evidence): Promise<Result<void, Failure>> {
  for (const { incarnation, stdout, stderr } of outputs) {
    for (const [name, bytes] of [
      [`${incarnation}.stdout`, stdout],
      [`${incarnation}.stderr`, stderr],
    ] as const) {
      const written = await writeAtomic(join(dir, name), bytes)
      if (!written.ok) return written
    }
  }
  const incarnations = outputs.map(({ incarnation }) => incarnation)
  return writeAtomic(join(dir, 'evidence.json'), `${JSON.stringify({ ...facts, incarnations })}\n`)
}

async function readOne(dir: string): Promise<Result<Evidence | null, Failure>> {
  try {
    const read = await readFacts(dir)
    if (read === null) return err(failure('file_error', `${dir} is not what was written there.`, { path: dir }))
    const { incarnations, ...facts } = read
    const outputs: Output[] = []
    for (const incarnation of incarnations) {
      const [stdout, stderr] = await Promise.all([
        readFile(join(dir, `${incarnation}.stdout`)),
        readFile(join(dir, `${incarnation}.stderr`)),
      ])
      outputs.push({ incarnation, stdout, stderr })
    }
    return ok({ ...facts, outputs })
  } catch (error) {
    return errnoOf(error) === 'ENOENT' ? ok(null) : err(fileFailure(error, dir))
  }
}

/** One that cannot be read is as old as its files: it must not stay for ever. */
async function sizeOf(dir: string): Promise<{ readonly bytes: number; readonly savedAtMs: number }> {
  const files = await Promise.all((await readdir(dir)).map((name) => stat(join(dir, name))))
  const facts = await readFacts(dir).catch(() => null)
  return {
    bytes: files.reduce((sum, { size }) => sum + size, 0),
    savedAtMs: facts?.savedAtMs ?? Math.max(0, ...files.map(({ mtimeMs }) => mtimeMs)),
  }
}

/** Null when it is not what was written. */
async function readFacts(dir: string): Promise<z.infer<typeof Facts> | null> {
  const parsed = Facts.safeParse(JSON.parse(await readFile(join(dir, 'evidence.json'), 'utf8')))
  return parsed.success ? parsed.data : null
}
