// Where the control plane is and which token to show it. In order: flags, HOLDFAST_URL and HOLDFAST_TOKEN, then what a local `holdfast
// up` left in its data directory, which is searched for upward from the working directory as git does.
// The token of a data directory is only ever sent to the address that the same directory names, and a directory that another user
// planted further up is not believed.
import { readFileSync, statSync } from 'node:fs'
import path from 'node:path'
import { err, ok, type Result } from '../base/result.ts'
import { type Failure, failure } from '../contracts/errors.ts'
import type { Core } from './core.ts'

export const DATA_DIR_NAME = '.holdfast'

export interface Settings {
  readonly url: string
  readonly token: string | null
}

interface Wishes {
  readonly url: string | undefined
  readonly dataDir: string | undefined
}

interface Endpoint {
  readonly url: string
  readonly pid: number
}

export function clientSettings(core: Core, wishes: Wishes): Result<Settings, Failure> {
  // A data directory that was named in words means the platform in it, whatever the environment says.
  const named = wishes.url === undefined && wishes.dataDir !== undefined
  const url = named ? undefined : (wishes.url ?? (core.env.HOLDFAST_URL || undefined))
  const token = named ? ok(null) : tokenFromEnv(core)
  if (!token.ok) return token
  if (url !== undefined && !isHttpUrl(url))
    return err(failure('invalid_input', `${url} is not an http or https address.`, { field: 'url' }))
  const dir = findDataDir(core, wishes.dataDir)
  const endpoint = dir === undefined ? undefined : readEndpoint(dir)
  if (url !== undefined) {
    const local = dir !== undefined && endpoint !== undefined && sameOrigin(endpoint.url, url) ? readToken(dir) : null
    return ok({ url: trim(url), token: token.value ?? local })
  }
  if (dir === undefined || endpoint === undefined) {
    const where = wishes.dataDir ?? core.env.HOLDFAST_DATA_DIR
    const sought = where === undefined ? `no ${DATA_DIR_NAME}/endpoint.json in ${core.cwd} or above it` : `no endpoint.json in ${where}`
    return err(failure('control_unreachable', `No running platform found: ${sought}, and HOLDFAST_URL is not set.`))
  }
  return ok({ url: trim(endpoint.url), token: token.value ?? readToken(dir) })
}

/** The data directory for `up`: given, from the environment, or `.holdfast` here. */
export const dataDirToUse = (core: Core, given: string | undefined): string =>
  path.resolve(core.cwd, given ?? (core.env.HOLDFAST_DATA_DIR || DATA_DIR_NAME))

/** An existing data directory: given, from the environment, or the nearest `.holdfast` at or above the working directory. */
export function findDataDir(core: Core, given: string | undefined): string | undefined {
  const named = given ?? core.env.HOLDFAST_DATA_DIR
  if (named) return isDirectory(path.resolve(core.cwd, named)) ? path.resolve(core.cwd, named) : undefined
  for (let at = path.resolve(core.cwd); ; at = path.dirname(at)) {
    const dir = path.join(at, DATA_DIR_NAME)
    if (isOurs(dir, core.uid)) return dir
    if (at === path.dirname(at)) return undefined
  }
}

export const endpointFile = (dir: string): string => path.join(dir, 'endpoint.json')
export const tokenFile = (dir: string): string => path.join(dir, 'operator.token')

export function readEndpoint(dir: string): Endpoint | undefined {
  const text = readText(endpointFile(dir))
  if (text === undefined) return undefined
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value !== 'object' || value === null || !('url' in value) || !('pid' in value)) return undefined
    const { url, pid } = value
    return typeof url === 'string' && typeof pid === 'number' && isHttpUrl(url) ? { url, pid } : undefined
  } catch {
    return undefined
  }
}

const readToken = (dir: string): string | null => readText(tokenFile(dir))?.trim() || null

function tokenFromEnv(core: Core): Result<string | null, Failure> {
  if (core.env.HOLDFAST_TOKEN) return sendable(core.env.HOLDFAST_TOKEN.trim(), 'HOLDFAST_TOKEN')
  const file = core.env.HOLDFAST_TOKEN_FILE
  if (!file) return ok(null)
  const token = readText(path.resolve(core.cwd, file))?.trim()
  if (!token) return err(failure('unauthenticated', `HOLDFAST_TOKEN_FILE names ${file}, which cannot be read or is empty.`))
  return sendable(token, file)
}

/** What no header can carry would fail like a broken network; it is a wrong token, and is not repeated in the message. */
export const sendable = (token: string, from: string): Result<string, Failure> =>
  /^[\x21-\x7e]+$/.test(token)
    ? ok(token)
    : err(failure('unauthenticated', `${from} holds characters that no token has, such as a space or a line break.`))

function readText(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return undefined
  }
}

function isDirectory(dir: string): boolean {
  return statSync(dir, { throwIfNoEntry: false })?.isDirectory() ?? false
}

function isOurs(dir: string, uid: number): boolean {
  try {
    const found = statSync(dir, { throwIfNoEntry: false })
    return found?.isDirectory() === true && (uid === 0 || found.uid === uid || found.uid === 0)
  } catch {
    // A directory above that may not be searched holds nothing for us.
    return false
  }
}

const isHttpUrl = (url: string): boolean => /^https?:$/.test(URL.parse(url)?.protocol ?? '')
const sameOrigin = (a: string, b: string): boolean => URL.parse(a)?.origin === URL.parse(b)?.origin
const trim = (url: string): string => url.replace(/\/+$/, '')
