// The link of an agent, wired to its instances: what is told on it, and what becomes of what is heard.
import type { Clock, Random } from '../base/clock.ts'
import type { Logger } from '../base/log.ts'
import type { NodeFacts } from '../contracts/agent-protocol.ts'
import type { InstanceId, NodeId } from '../contracts/ids.ts'
import type { Runtime } from '../contracts/spec.ts'
import type { Driver } from './drivers/driver.ts'
import type { EvidenceFiles } from './execute/evidence-files.ts'
import type { Ledger } from './execute/ledger.ts'
import { answer } from './execute/requests.ts'
import { LIMITS } from './limits.ts'
import { type Link, openLink } from './link/link.ts'
import type { Dial } from './link/socket.ts'
import type { Collecting } from './loop/collecting.ts'
import { blockedOf } from './loop/entry.ts'
import type { Instances } from './loop/instances.ts'
import type { Reporter } from './loop/reporter.ts'
import type { Monitor } from './monitor/monitor.ts'

export interface ConnectDeps {
  readonly nodeId: NodeId
  readonly bootId: string
  readonly control: { readonly url: string; readonly token: string; readonly dial: Dial }
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
  readonly linkLog: Logger
  readonly drivers: ReadonlyMap<Runtime, Driver>
  readonly evidence: EvidenceFiles
  readonly monitor: Monitor
  readonly ledger: Ledger
  readonly instances: Instances
  readonly reporter: Reporter
  readonly collecting: Collecting
  facts(): NodeFacts
}

/** Dials the control plane in the background. */
export function connect(deps: ConnectDeps): Link {
  const { nodeId, bootId, control, clock, random, log, drivers, monitor, ledger, instances, reporter } = deps
  const { collector, outbox } = deps.collecting
  const usage = () => {
    const blocked = blockedOf(instances.entries.values())
    return { ...monitor.usage(ledger.reservedMemoryBytes), ...(blocked && { blocked }) }
  }
  const requests = {
    clock,
    limits: LIMITS,
    drivers,
    record: (id: InstanceId) => instances.entries.get(id)?.record,
    evidence: deps.evidence,
    collectGarbage: (asked: Parameters<typeof collector.ask>[0]) => collector.ask(asked),
  }
  return openLink({
    controlUrl: control.url,
    token: control.token,
    dial: control.dial,
    clock,
    random,
    log: deps.linkLog,
    hello: () => {
      const known = [...instances.entries.values()].map(({ record }) => ({ id: record.desired.id, generation: record.desired.generation }))
      return { nodeId, bootId, facts: deps.facts(), usage: usage(), instances: known }
    },
    usage,
    onWelcome: (items, seen) => {
      const known = new Set(items.map((item) => item.id))
      for (const [id, { record }] of instances.entries)
        if (!known.has(id) && record.phase.kind !== 'deleted') log.warn('instance unknown to the control plane', { instance_id: id })
      instances.setDesired(items)
      collector.welcomed(known)
      // After the wishes: of an instance whose journal was lost, too, it has to be known how far it was numbered.
      for (const { id, seq } of seen) instances.acked(id, seq)
    },
    onDesired: (items) => {
      instances.setDesired(items)
      collector.known(items.map((item) => item.id))
    },
    onCollected: (keys) => outbox.stored(keys),
    onAck: (items) => {
      for (const { id, seq } of items) instances.acked(id, seq)
    },
    onRequest: (request, send, signal) => answer(requests, request, send, signal),
    onConnected: (connected) => {
      if (!connected) return
      reporter.resendAll()
      outbox.flush()
    },
  })
}
