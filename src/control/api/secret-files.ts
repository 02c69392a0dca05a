// Secrets of the local machine: one file each, readable by their owner only. A file that is missing or empty is made anew, which
// makes the secret it held useless; one that exists is never changed.
import { chmod, link, mkdir, open, readFile, rm, stat } from 'node:fs/promises'
import path from 'node:path'
import type { Random } from '../../base/clock.ts'
import { errnoOf } from '../../base/errno.ts'
import { err, ok, type Result } from '../../base/result.ts'
import { type Failure, failure } from '../../contracts/errors.ts'
import { newSecret } from './orgs.ts'

const SECRET = /^[\x21-\x7e]{16,512}$/

export async function makeDataDir(dir: string): Promise<Result<void, Failure>> {
  try {
    await mkdir(dir, { recursive: true, mode: 0o700 })
    return ok(undefined)
  } catch (error) {
    return err(unusable(dir, error))
  }
}

/** The secret in the file, made if there is none. Two that make it at once agree on one. */
export async function ensureSecret(file: string, random: Random): Promise<Result<string, Failure>> {
  try {
    const known = await readSecret(file)
    if (known !== undefined) return ok(known)
    const secret = newSecret(random)
    const aside = `${file}.${random.text(8)}`
    try {
      await writeSynced(aside, `${secret}\n`)
      // An empty file is what a full disk or a crash leaves; a link, unlike a rename, never replaces what another one has just made.
      if ((await readSecret(file)) === undefined) await rm(file, { force: true })
      await link(aside, file)
    } catch (error) {
      if (errnoOf(error) !== 'EEXIST') throw error
    } finally {
      await rm(aside, { force: true })
    }
    const now = await readSecret(file)
    return now === undefined ? err(failure('data_dir_unusable', `${file} holds no token.`, { path: file })) : ok(now)
  } catch (error) {
    return err(unusable(file, error))
  }
}

async function writeSynced(file: string, text: string): Promise<void> {
  const handle = await open(file, 'wx', 0o600)
  try {
    await handle.writeFile(text)
    await handle.sync()
  } finally {
    await handle.close()
  }
}

async function readSecret(file: string): Promise<string | undefined> {
  try {
    const text = (await readFile(file, 'utf8')).trim()
    if (!SECRET.test(text)) return undefined
    if (((await stat(file)).mode & 0o077) !== 0) await chmod(file, 0o600)
    return text
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined
    throw error
  }
}

function unusable(where: string, error: unknown): Failure {
  const code = errnoOf(error)
  if (code === 'ENOSPC' || code === 'EDQUOT')
    return failure('disk_full', `No space to write ${where}.`, { path: path.dirname(where) }, error)
  return failure(
    'data_dir_unusable',
    `${where} cannot be used${code === undefined ? '' : ` (${code})`}.`,
    { path: where, ...(code !== undefined && { errno: code }) },
    error,
  )
}
