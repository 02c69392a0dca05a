import { expect, test } from 'vitest'
import { InstanceId, NodeId } from './ids.ts'

test.each(['', '..', '../../etc', 'inst_../../../../../../etc', '/etc/passwd', 'inst_0000000000000000000A', 'inst_00000000000000000001\n'])(
  'C67: %j is no id, so no directory is ever named by it',
  (id) => {
    expect(InstanceId.safeParse(id).success).toBe(false)
    expect(NodeId.safeParse(id).success).toBe(false)
  },
)
