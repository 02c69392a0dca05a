// A node whose disk takes no records goes no step further with its instances. What it says of that, and the words for it.
import type { LastError } from './phase.ts'

export type Blocked = Pick<LastError, 'code' | 'detail' | 'fields'>

/** Of a whole node: how many instances wait, and what one of them was refused. */
export type NodeBlocked = Pick<LastError, 'code' | 'detail'> & { readonly instances: number }

/** `2 instances wait: disk full (No room left to write /x/journal)`. */
export const blockedText = ({ code, detail, instances }: NodeBlocked): string =>
  `${instances} ${instances === 1 ? 'instance waits' : 'instances wait'}: ${code.replaceAll('_', ' ')} (${detail.replace(/\.$/, '')})`
