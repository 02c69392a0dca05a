// Host ports for the process runtime: a fixed one must be free, a chosen one is found by binding port 0 and remembered, so that two
// instances are never given the same. Engines choose their own.
import { createServer } from 'node:net'
import { err, ok, type Result } from '../../base/result.ts'
import { type Failure, failure } from '../../contracts/errors.ts'
import type { InstanceId } from '../../contracts/ids.ts'
import type { InstanceSpec } from '../../contracts/spec.ts'

const TRIES_MAX = 32

export interface Ports {
  /** Ports in the order of the spec; `held` are those the instance had before and keeps. */
  resolve(id: InstanceId, spec: InstanceSpec, held: readonly number[]): Promise<Result<readonly number[], Failure>>
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

  return {
    async resolve(id, spec, held) {
      if (spec.runtime !== 'process') return ok(spec.ports.map((port) => port.host))
      if (held.length === spec.ports.length && held.length > 0) return ok(held)
      const ports: number[] = []
      for (const wanted of spec.ports) {
        if (wanted.host === 0) {
          const chosen = await choose(id)
          if (!chosen.ok) return chosen
          ports.push(chosen.value)
          continue
        }
        const inUse = failure('port_in_use', `Port ${wanted.host} of the node is already in use.`, { port: wanted.host })
        if (!free(id, wanted.host))
          return err(failure('port_in_use', `Port ${wanted.host} belongs to instance ${taken.get(wanted.host)}.`, { port: wanted.host }))
        // UDP is not probed: two listeners may share a port there, and nothing refuses them.
        if (wanted.protocol === 'tcp') {
          const bound = await bind(wanted.host)
          if (bound === 'EADDRINUSE') return err(inUse)
        }
        taken.set(wanted.host, id)
        ports.push(wanted.host)
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
