// The small languages of `launch`: ports and checks.
import { err, ok, type Result } from '../../base/result.ts'
import type { InstanceInput } from '../../contracts/spec.ts'

type PortInput = NonNullable<InstanceInput['ports']>[number]
type CheckInput = NonNullable<InstanceInput['health']>[number]

const portNumber = (text: string, min: number): number | undefined => {
  const value = /^[0-9]{1,5}$/.test(text) ? Number(text) : -1
  return value >= min && value <= 65_535 ? value : undefined
}

/** `8080:80` (host 8080 leads to 80), `80` (host port chosen; a process listens on 80 itself), `0` (process: chosen and passed in PORT). */
export function readPort(word: string, runtime: string): Result<PortInput, string> {
  const [first = '', second, ...rest] = word.split(':')
  const internal = portNumber(second ?? first, runtime === 'process' ? 0 : 1)
  const host = second === undefined ? 0 : portNumber(first, 0)
  if (internal === undefined || host === undefined || rest.length > 0)
    return err(`${JSON.stringify(word)} is not [HOST:]INTERNAL with ports from 1 to 65535`)
  return ok(second === undefined ? { internal } : { internal, host })
}

/** `tcp:PORT`, `http:PORT/PATH`, `exec:CMD`; a port may be a number or, where it has one, a name. */
export function readHealth(word: string): Result<CheckInput, string> {
  const at = word.indexOf(':')
  const kind = at < 0 ? word : word.slice(0, at)
  const rest = at < 0 ? '' : word.slice(at + 1)
  if (kind === 'exec') {
    if (rest.trim() === '') return err('exec: needs a command, such as exec:"test -f /ready"')
    // One word of the command line: what the person would have typed at a shell, so a shell reads it.
    return ok({ type: 'exec', command: ['/bin/sh', '-c', rest] })
  }
  if (kind === 'tcp') {
    const port = readPortWord(rest)
    return port === undefined ? err(`${JSON.stringify(word)} is not tcp:PORT`) : ok({ type: 'tcp', port })
  }
  if (kind === 'http') {
    const slash = rest.indexOf('/')
    const port = readPortWord(slash < 0 ? rest : rest.slice(0, slash))
    return port === undefined
      ? err(`${JSON.stringify(word)} is not http:PORT/PATH`)
      : ok({ type: 'http', port, path: slash < 0 ? '/' : rest.slice(slash) })
  }
  return err(`${JSON.stringify(word)} is not tcp:PORT, http:PORT/PATH or exec:CMD`)
}

function readPortWord(text: string): number | string | undefined {
  if (/^[a-z][a-z0-9-]{0,31}$/.test(text)) return text
  return portNumber(text, 1)
}
