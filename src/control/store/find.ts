// What a reference that a person gives stands for. Pure: a store finds the candidates, this says which one is meant.
import { err, ok, type Result } from '../../base/result.ts'
import { type Failure, failure } from '../../contracts/errors.ts'
import { InstanceId } from '../../contracts/ids.ts'
import type { EnvRecord } from '../model/env.ts'
import type { InstanceRecord } from '../model/instance.ts'
import type { NodeRecord } from '../model/node.ts'
import { noInstance } from './desired-fold.ts'
import { noNode } from './session-fold.ts'

/** Candidates that are looked for; so many are "at least so many". */
export const MATCHES_SHOWN = 5

const INSTANCE_PREFIX = /^inst_[0-9a-z]{1,20}$/
const NODE_PREFIX = /^[a-z0-9][a-z0-9.-]{0,62}$/

/** The first rule that finds any decides. A deleted instance is found by its whole id only. */
export function instanceRules(ref: string): readonly ('id' | 'name' | 'prefix')[] {
  if (InstanceId.safeParse(ref).success) return ['id']
  return INSTANCE_PREFIX.test(ref) ? ['name', 'prefix'] : ['name']
}

export const nodeRules = (ref: string): readonly ('id' | 'prefix')[] => (NODE_PREFIX.test(ref) ? ['id', 'prefix'] : ['id'])

/** Fails with `not_found`, `ambiguous_id`. */
export function theInstance(ref: string, found: readonly InstanceRecord[]): Result<InstanceRecord, Failure> {
  const [first, second] = found
  if (first === undefined) return err(noInstance(ref))
  if (second === undefined) return ok(first)
  const count = `${found.length === MATCHES_SHOWN ? 'at least ' : ''}${found.length}`
  return err(failure('ambiguous_id', `${ref} matches ${count} instances.`, { ref, matches: found.map((one) => one.id) }))
}

/** Fails with `not_found`, `ambiguous_id`. */
export function theNode(ref: string, found: readonly NodeRecord[]): Result<NodeRecord, Failure> {
  const [first, second] = found
  if (first === undefined) return err(noNode(ref))
  if (second === undefined) return ok(first)
  return err(failure('ambiguous_id', `${ref} matches more than one node.`, { ref, matches: found.map((node) => node.id) }))
}

/** Fails with `not_found`, `ambiguous_id`. */
export function theEnv(ref: string, found: readonly EnvRecord[]): Result<EnvRecord, Failure> {
  const [first, second] = found
  if (first === undefined) return err(noEnv(ref))
  if (second === undefined) return ok(first)
  const matches = found.map((one) => `${one.app}/${one.env}`)
  return err(failure('ambiguous_id', `${ref} matches more than one env; give app/env or the id.`, { ref, matches }))
}

export const noEnv = (ref: string): Failure => failure('not_found', `No env ${ref}.`, { kind: 'env', ref })
