// A container as cloud-init sees it: files by the engine's archive calls (they work before the container runs and need no program
// inside), commands by exec as root.

import type { Clock } from '../../../base/clock.ts'
import { err, OK, ok, type Result } from '../../../base/result.ts'
import { type Failure, failure } from '../../../contracts/errors.ts'
import { OUTPUT_BYTES_MAX } from '../../cloud-init/commands.ts'
import type { GuestFiles, GuestRun, GuestStat } from '../../cloud-init/guest.ts'
import { readFirstFile, writeTar } from '../../cloud-init/tar.ts'
import { type Engine, parseJson } from './engine.ts'
import { failureOf, isStatus } from './engine-fault.ts'
import { runExec } from './exec.ts'
import { PathStat } from './schemas.ts'

/** Bits of Go's file mode, which is what the engine sends. */
const GO_DIRECTORY = 2 ** 31
const GO_LINK = 2 ** 27
const GO_OTHER = 2 ** 26 + 2 ** 25 + 2 ** 24 + 2 ** 21 + 2 ** 19
const LINKS_MAX = 8
const READ_BYTES_MAX = 16 * 2 ** 20

const has = (mode: number, bits: number): boolean => (BigInt(mode) & BigInt(bits)) !== 0n

export function guestFiles(engine: Engine, containerId: string): GuestFiles {
  const path = `/containers/${containerId}/archive`

  const stat = async (asked: string, signal: AbortSignal): Promise<Result<GuestStat | null, Failure>> => {
    let at = asked
    for (let links = 0; links < LINKS_MAX; links += 1) {
      const answer = await engine.call({ method: 'HEAD', path, query: { path: at } }, signal)
      if (!answer.ok) return isStatus(answer.error, 404) ? ok(null) : err(failureOf(answer.error, `look at ${at} in the container`))
      const header = answer.value.headers['x-docker-container-path-stat']
      const parsed = parseJson(Buffer.from(typeof header === 'string' ? header : '', 'base64'), PathStat)
      if (!parsed.ok) return err(failureOf(parsed.error, `look at ${at} in the container`))
      const { mode, linkTarget, size } = parsed.value
      const kind = has(mode, GO_DIRECTORY) ? 'directory' : has(mode, GO_OTHER) ? 'other' : 'file'
      if (!has(mode, GO_LINK)) return ok({ kind, path: at, sizeBytes: size })
      at = linkTarget
    }
    return err(failure('cloud_init_failed', `${asked} is a link that leads nowhere.`))
  }

  return {
    stat,
    async read(asked, signal) {
      const there = await stat(asked, signal)
      if (!there.ok) return there
      if (there.value?.kind !== 'file') return ok(null)
      if (there.value.sizeBytes > READ_BYTES_MAX)
        return err(failure('cloud_init_failed', `${asked} has ${there.value.sizeBytes} bytes; at most ${READ_BYTES_MAX} can be read.`))
      const answer = await engine.call({ method: 'GET', path, query: { path: there.value.path } }, signal)
      if (!answer.ok) return isStatus(answer.error, 404) ? ok(null) : err(failureOf(answer.error, `read ${asked} in the container`))
      return ok(readFirstFile(answer.value.bytes) ?? null)
    },
    async unpack(directory, entries, signal) {
      const answer = await engine.call({ method: 'PUT', path, query: { path: directory }, archive: writeTar(entries) }, signal)
      return answer.ok ? OK : err(failureOf(answer.error, `write below ${directory} in the container`, 'cloud_init_failed'))
    },
  }
}

export function guestRun(deps: { readonly engine: Engine; readonly clock: Clock }, containerId: string): GuestRun {
  return async (command, signal) => {
    const tail = new Tail(OUTPUT_BYTES_MAX)
    const stdin = command.stdin === null ? null : Buffer.from(command.stdin)
    const code = await runExec(
      deps,
      { containerId, command: command.argv, stdin, env: command.env, user: '0', timeoutMs: command.timeoutMs, onAbort: 'leave' },
      (chunk) => tail.push(chunk.data),
      signal,
    )
    if (code.ok) return ok({ exitCode: code.value, output: tail.text() })
    const said = tail.text()
    return err(said === '' ? code.error : { ...code.error, detail: `${code.error.detail} Its last output: ${said}` })
  }
}

/** The last bytes of a stream, as text. */
export class Tail {
  readonly #bytesMax: number
  #chunks: Uint8Array[] = []
  #size = 0

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
  }

  push(data: Uint8Array): void {
    this.#chunks.push(Uint8Array.from(data))
    this.#size += data.length
    // Joined only now and then: many small chunks would otherwise be copied again and again.
    if (this.#size > 4 * this.#bytesMax || this.#chunks.length > 1024) this.#chunks = [this.bytes()]
    if (this.#chunks.length === 1) this.#size = this.#chunks[0]?.length ?? 0
  }

  bytes(): Buffer {
    const all = Buffer.concat(this.#chunks)
    return all.subarray(Math.max(0, all.length - this.#bytesMax))
  }

  text(): string {
    return this.bytes().toString()
  }
}
