// What is in force for an instance, and where it is set.
import type { InstanceView } from '../../contracts/views.ts'

const WHERE = { instance: 'on it itself', env: 'on its env', node: 'on its node' } as const

/** `observe (set on its env)` */
export const modeText = ({ mode, set_on }: InstanceView['modes']['recovery' | 'health_checks']): string =>
  mode === null || set_on === null ? 'as its node decides' : `${mode} (set ${WHERE[set_on]})`
