// A wish as the control plane would push it: whole and plausible, with only what a test is about given.
import type { Desired } from '../../src/contracts/agent-protocol.ts'
import { InstanceId, OrgId } from '../../src/contracts/ids.ts'
import { NO_MODES } from '../../src/contracts/modes.ts'
import { specOf } from './control-records.ts'

export function desiredOf(change: Partial<Desired> = {}): Desired {
  return {
    id: InstanceId.parse('inst_00000000000000000001'),
    orgId: OrgId.parse('org_00000000000000000001'),
    name: 'web',
    generation: 1,
    want: 'running',
    spec: specOf({ command: ['serve'] }),
    labels: {},
    modes: NO_MODES,
    envModes: NO_MODES,
    wishedBy: null,
    restartSeq: 0,
    recoverSeq: 0,
    healSeq: 0,
    ...change,
  }
}
