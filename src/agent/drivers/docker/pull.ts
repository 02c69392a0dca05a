// Images: used when the engine has them, fetched otherwise. A pull answers 200 and may fail in its body, so every line of it is read.
import type { Readable } from 'node:stream'
import { err, OK, type Result } from '../../../base/result.ts'
import { type Failure, failure } from '../../../contracts/errors.ts'
import { type Engine, parseJson } from './engine.ts'
import { failureOf, faultOfError, isStatus } from './engine-fault.ts'
import { LineSplitter } from './lines.ts'
import { PullLine } from './schemas.ts'

/** What a registry answers for an image that is not there or not for us. */
const NOT_FOUND = new Set([401, 403, 404])

/** `fetched` is waited for when it was not there and is now. */
export async function ensureImage(
  engine: Engine,
  image: string,
  signal: AbortSignal,
  fetched: () => Promise<void> = async () => {},
): Promise<Result<void, Failure>> {
  const here = await hasImage(engine, image, signal)
  if (!here.ok) return here
  if (here.value) return OK
  const pulled = await pull(engine, image, signal)
  if (pulled.ok) await fetched()
  return pulled
}

export async function hasImage(engine: Engine, image: string, signal: AbortSignal): Promise<Result<boolean, Failure>> {
  // Such a part would lead to another route of the engine; no image is called that.
  if (image.split('/').some((part) => part === '' || part === '.' || part === '..')) return err(notFound(image, 'not an image reference'))
  // Slashes are part of the reference and of the engine's route; everything else of its grammar needs no escaping.
  const answer = await engine.call({ method: 'GET', path: `/images/${encodeURI(image)}/json` }, signal)
  if (answer.ok) return { ok: true, value: true }
  return isStatus(answer.error, 404) ? { ok: true, value: false } : err(failureOf(answer.error, `look for the image ${image}`))
}

async function pull(engine: Engine, image: string, signal: AbortSignal): Promise<Result<void, Failure>> {
  const { name, tag } = splitReference(image)
  const body = await engine.stream(
    { method: 'POST', path: '/images/create', query: { fromImage: name, tag }, deadlineMs: PULL_HEAD_DEADLINE_MS },
    signal,
  )
  if (!body.ok) {
    if (body.error.kind === 'status' && NOT_FOUND.has(body.error.status)) return err(notFound(image, body.error.message))
    return err(failureOf(body.error, `fetch the image ${image}`, 'image_pull_failed'))
  }
  const read = await readPull(engine, body.value, image, signal)
  if (!read.ok) return read
  const here = await hasImage(engine, image, signal)
  if (!here.ok) return here
  return here.value ? OK : err(failure('image_pull_failed', `The Docker Engine fetched ${image} and does not have it.`, { image }))
}

/** The engine answers only when the registry has told it what the image consists of. */
const PULL_HEAD_DEADLINE_MS = 120_000

async function readPull(engine: Engine, body: Readable, image: string, signal: AbortSignal): Promise<Result<void, Failure>> {
  let failed: Failure | undefined
  const lines = new LineSplitter((line) => {
    const parsed = parseJson(line, PullLine)
    if (!parsed.ok || (parsed.value.error === undefined && parsed.value.errorDetail === undefined)) return
    const { errorDetail, error } = parsed.value
    const message = errorDetail?.message ?? error ?? ''
    failed ??= NOT_FOUND.has(errorDetail?.code ?? 0)
      ? notFound(image, message)
      : failure('image_pull_failed', `${image}: ${message}`, { image })
  })
  try {
    for await (const chunk of body) {
      if (!Buffer.isBuffer(chunk)) continue
      lines.push(chunk)
      if (!lines.intact) return err(failure('image_pull_failed', `The Docker Engine's report on ${image} could not be read.`, { image }))
    }
  } catch (error) {
    return err(failureOf(faultOfError(error, signal, engine.socketPath), `fetch the image ${image}`))
  }
  return failed ? err(failed) : OK
}

const notFound = (image: string, message: string): Failure =>
  failure('image_not_found', `${image}${message === '' ? '' : `: ${message}`}`, { image })

/** `name[:tag][@digest]` as the pull call wants it; without either, `latest`, because no tag would fetch all of them. */
export function splitReference(image: string): { name: string; tag: string } {
  const at = image.indexOf('@')
  // A digest says it all; a tag beside it would be refused.
  if (at >= 0) return { name: withoutTag(image.slice(0, at)), tag: image.slice(at + 1) }
  const name = withoutTag(image)
  return { name, tag: image.slice(name.length + 1) || 'latest' }
}

/** A colon before the last slash belongs to a port of the registry. */
function withoutTag(image: string): string {
  const colon = image.indexOf(':', image.lastIndexOf('/') + 1)
  return colon < 0 ? image : image.slice(0, colon)
}
