// Images that this driver fetched itself, remembered by digest in <state-dir>/docker-images.json. One that was there before is
// somebody else's, and so is one that got another name since, or that any container has.
import { z } from 'zod'
import { err, ok, type Result } from '../../../base/result.ts'
import type { Failure } from '../../../contracts/errors.ts'
import type { FetchedImage, Images } from '../driver.ts'
import type { Engine } from './engine.ts'
import { failureOf, isStatus } from './engine-fault.ts'
import type { Parts } from './find.ts'
import { ImageUsers, InspectedImage, Weighed } from './schemas.ts'

const FILE = 'docker-images.json'
/** Of this many the oldest is forgotten, and then never removed by us. */
const REMEMBERED_MAX = 1000
const Remembered = z.array(z.object({ image: z.string(), imageId: z.string(), pulledAtMs: z.number() }))
type Entry = z.infer<typeof Remembered>[number]

export class FetchedImages implements Images {
  readonly #parts: Parts
  /** Changes of the file, one after the other. */
  #line: Promise<unknown> = Promise.resolve()

  constructor(parts: Parts) {
    this.#parts = parts
  }

  /** After a pull. What cannot be remembered is never removed, which costs space and nothing else. */
  async remember(image: string, signal: AbortSignal): Promise<void> {
    const { engine, clock, log } = this.#parts
    const found = await inspectImage(engine, image, signal)
    if (!found.ok || found.value === null) return
    const { Id: imageId } = found.value
    const entry = { image, imageId, pulledAtMs: clock.wallMs() }
    const written = await this.#change((entries) => [...entries.filter((one) => one.image !== image || one.imageId !== imageId), entry])
    if (!written.ok) log.warn('fetched image not remembered', { image, error_code: written.error.code, error: written.error.detail })
  }

  async fetched(signal: AbortSignal): Promise<Result<readonly FetchedImage[], Failure>> {
    const { engine } = this.#parts
    const entries = await this.#remembered()
    if (!entries.ok || entries.value.length === 0) return entries.ok ? ok([]) : entries
    const users = await usersOf(engine, signal)
    if (!users.ok) return users
    const found: FetchedImage[] = []
    for (const entry of entries.value) {
      const image = await inspectImage(engine, entry.imageId, signal)
      if (!image.ok) return image
      if (image.value === null) continue
      const used = users.value.has(entry.imageId) || !isOnly(entry, image.value)
      found.push({ ...entry, bytes: image.value.Size, used })
    }
    return ok(found)
  }

  async remove(image: string, imageId: string, signal: AbortSignal): Promise<Result<boolean, Failure>> {
    const { engine } = this.#parts
    const users = await usersOf(engine, signal)
    if (!users.ok) return users
    const found = await inspectImage(engine, imageId, signal)
    if (!found.ok) return found
    if (found.value && (users.value.has(imageId) || !isOnly({ image, imageId }, found.value))) return ok(false)
    if (found.value) {
      // Without force: the engine refuses what a container has got since we looked.
      const removed = await engine.call({ method: 'DELETE', path: `/images/${encodeURI(imageId)}` }, signal, 'long')
      if (!removed.ok && isStatus(removed.error, 409)) return ok(false)
      if (!removed.ok && !isStatus(removed.error, 404)) return err(failureOf(removed.error, `remove the image ${image}`))
    }
    const forgotten = await this.#change((entries) => entries.filter((one) => one.imageId !== imageId))
    return forgotten.ok ? ok(true) : forgotten
  }

  async #remembered(): Promise<Result<readonly Entry[], Failure>> {
    const read = await this.#parts.files.readOwn(FILE, Remembered)
    return read.ok ? ok(read.value ?? []) : read
  }

  #change(act: (entries: readonly Entry[]) => readonly Entry[]): Promise<Result<void, Failure>> {
    const done = this.#line.then(async () => {
      const before = await this.#remembered()
      return before.ok ? this.#parts.files.writeOwn(FILE, `${JSON.stringify(act(before.value).slice(-REMEMBERED_MAX))}\n`) : before
    })
    this.#line = done
    return done
  }
}

/** Bytes that the container itself has written; computing it takes the engine a walk over its files. */
export async function weighContainer(engine: Engine, containerId: string, signal: AbortSignal): Promise<Result<number | null, Failure>> {
  const answer = await engine.json({ method: 'GET', path: `/containers/${containerId}/json`, query: { size: '1' } }, Weighed, signal)
  if (answer.ok) return ok(answer.value.SizeRw ?? 0)
  return isStatus(answer.error, 404) ? ok(null) : err(failureOf(answer.error, 'describe a container'))
}

/** The names it has are the one we asked for: `name`, `name:tag` or `name@digest`. */
function isOnly({ image }: Pick<Entry, 'image' | 'imageId'>, { RepoTags }: z.infer<typeof InspectedImage>): boolean {
  const names = RepoTags.filter((name) => name !== '<none>:<none>')
  return names.every((name) => name === image || name === `${image}:latest` || name === familiar(image))
}

/** The engine leaves out the default registry. */
const familiar = (image: string): string => image.replace(/^docker\.io\/(library\/)?/, '')

async function inspectImage(
  engine: Engine,
  reference: string,
  signal: AbortSignal,
): Promise<Result<z.infer<typeof InspectedImage> | null, Failure>> {
  const answer = await engine.json({ method: 'GET', path: `/images/${encodeURI(reference)}/json` }, InspectedImage, signal)
  if (answer.ok) return answer
  return isStatus(answer.error, 404) ? ok(null) : err(failureOf(answer.error, `look for the image ${reference}`))
}

/** Images that any container has, whoever's, running or not. */
async function usersOf(engine: Engine, signal: AbortSignal): Promise<Result<ReadonlySet<string>, Failure>> {
  const listed = await engine.json({ method: 'GET', path: '/containers/json', query: { all: '1' } }, ImageUsers, signal)
  return listed.ok ? ok(new Set(listed.value.map((one) => one.ImageID))) : err(failureOf(listed.error, 'list containers'))
}
