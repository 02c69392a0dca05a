import { err, ok, type Result } from '../../base/result.ts'
import { type Failure, failure } from '../../contracts/errors.ts'
import { FaultProxy } from './fault-proxy.ts'
import type { Rig } from './rig.ts'
import type { Parts, Place } from './scenario.ts'

/** `host:port`, or the path of a unix socket. */
export function placeOf(word: string | null, flag: string): Result<Place, Failure> {
  if (word?.startsWith('/')) return ok({ path: word })
  const found = /^([^\s:]+):(\d{1,5})$/.exec(word ?? '')
  if (found?.[1]) return ok({ host: found[1], port: Number(found[2]) })
  return err(failure('invalid_input', `This needs --${flag}: HOST:PORT, or the path of a unix socket.`, { field: flag }))
}

/** The fault proxy that flags ask for. It passes on until all that was launched is deleted. */
export async function proxyFor(
  rig: Rig,
  { listen, to }: Parts,
): Promise<Result<{ readonly proxy: FaultProxy; readonly at: Place }, Failure>> {
  const at = placeOf(listen, 'proxy-listen')
  if (!at.ok) return at
  const far = placeOf(to, 'proxy-to')
  if (!far.ok) return far
  const proxy = new FaultProxy(at.value, far.value)
  await proxy.listen()
  rig.atEnd(() => proxy.close())
  return ok({ proxy, at: at.value })
}
