// Host ports for the process runtime: a fixed one must be free, a chosen one is found by binding port 0 and remembered, so that two
// instances are never given the same. Engines choose their own, and find out themselves whether a fixed one is free; but a fixed one
// is promised to one instance only, whatever runs it, and so is one that an engine chose once.
import { createServer } from 'node:net'
import { err, ok, type Result } from '../../base/result.ts'
import { type Failure, failure } from '../../contracts/errors.ts'
import type { InstanceId } from '../../contracts/ids.ts'
import type { InstanceSpec } from '../../contracts/spec.ts'

const TRIES_MAX = 32

interface Before {
  /** Those the instance had before and keeps, in the order of the spec; empty when there are none. */
  readonly held: readonly number[]
  /** Nothing of the instance lives: whoever listens on a port that it holds is a stranger, not its older incarnation. */
  readonly vacant: boolean
}

export interface Ports {
  /**
   * Ports in the order of the spec; fails with `port_in_use`. A chosen one that somebody else has by now is chosen anew, one that the user
   * fixed never.
   */
  resolve(id: InstanceId, spec: InstanceSpec, before: Before): Promise<Result<readonly number[], Failure>>
  adopt(id: InstanceId, ports: readonly number[]): void
  release(id: InstanceId): void
}

export function createPorts(): Ports {
  const taken = new Map<number, InstanceId>()
  const free = (id: InstanceId, port: number) => (taken.get(port) ?? id) === id

  const choose = async (id: InstanceId): Promise<Result<number, Failure>> => {
    for (let tries = 0; tries < TRIES_MAX; tries += 1) {
      const port = await bind(0)
      if (typeof port === 'number' && free(id, port)) {
        taken.set(port, id)
        return ok(port)
      }
    }
    return err(failure('port_in_use', `No free port found in ${TRIES_MAX} tries.`))
  }

  /** Ok when the port is the instance's now. What it holds already is probed only when it is vacant. */
  const take = async (id: InstanceId, port: number, protocol: 'tcp' | 'udp', vacant: boolean): Promise<Result<number, Failure>> => {
    const holder = taken.get(port)
    if (holder === id && !vacant) return ok(port)
    if (holder !== undefined && holder !== id) return err(belongsTo(holder, port))
    // Before the probe, or two who want it would both find it free.
    taken.set(port, id)
    // UDP is not probed: two listeners may share a port there, and nothing refuses them.
    if (protocol === 'udp' || (await bind(port)) !== 'EADDRINUSE') return ok(port)
    taken.delete(port)
    return err(failure('port_in_use', `Port ${port} of the node is already in use.`, { port }))
  }

  /** The chosen ones are the engine's to give; it is asked first for those the instance had, unless another instance has them by now. */
  const promise = (id: InstanceId, spec: InstanceSpec, held: readonly number[]): Result<readonly number[], Failure> => {
    const fixed = spec.ports.filter(({ host, protocol }) => host > 0 && protocol === 'tcp').map(({ host }) => host)
    const lost = fixed.find((port) => !free(id, port))
    if (lost !== undefined) return err(belongsTo(taken.get(lost), lost))
    const ports = spec.ports.map(({ host }, index) => {
      const before = held.length === spec.ports.length ? (held[index] ?? 0) : 0
      return host === 0 && free(id, before) ? before : host
    })
    for (const [index, port] of ports.entries()) if (port > 0 && spec.ports[index]?.protocol === 'tcp') taken.set(port, id)
    return ok(ports)
  }

  return {
    async resolve(id, spec, { held, vacant }) {
      if (spec.runtime !== 'process') return promise(id, spec, held)
      const ports: number[] = []
      for (const [index, { host, protocol }] of spec.ports.entries()) {
        const before = held.length === spec.ports.length ? (held[index] ?? 0) : 0
        const wanted = host === 0 ? before : host
        const got = wanted === 0 ? await choose(id) : await take(id, wanted, protocol, vacant)
        // A chosen one that somebody else has by now is chosen anew.
        const settled = got.ok || host !== 0 ? got : await choose(id)
        if (!settled.ok) return settled
        ports.push(settled.value)
      }
      return ok(ports)
    },
    adopt(id, ports) {
      for (const port of ports) if (port > 0) taken.set(port, id)
    },
    release(id) {
      for (const [port, holder] of taken) if (holder === id) taken.delete(port)
    },
  }
}

const belongsTo = (holder: InstanceId | undefined, port: number): Failure =>
  failure('port_in_use', `Port ${port} belongs to instance ${holder}.`, { port })

/** The port bound for a moment, or the errno why not. */
function bind(port: number): Promise<number | string> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? 'unknown'))
    server.listen({ port, host: '0.0.0.0', exclusive: true }, () => {
      const address = server.address()
      server.close(() => resolve(typeof address === 'object' && address ? address.port : 'unknown'))
    })
  })
}
