// Every kind of id, made only by parsing or by the generator. Prefixed, so that logs read themselves.
// The first 9 characters are the creation time in base 36 (milliseconds), so ids sort by age; 11 random ones follow.
import { z } from 'zod'
import type { Clock, Random } from '../base/clock.ts'

const id = <Name extends string>(prefix: string) =>
  z
    .string()
    .regex(new RegExp(`^${prefix}_[0-9a-z]{20}$`), `must be ${prefix}_ and 20 characters of 0-9a-z`)
    .brand<Name>()

export const InstanceId = id<'InstanceId'>('inst')
export type InstanceId = z.infer<typeof InstanceId>
export const OrgId = id<'OrgId'>('org')
export type OrgId = z.infer<typeof OrgId>
export const TokenId = id<'TokenId'>('tok')
export type TokenId = z.infer<typeof TokenId>
export const AppId = id<'AppId'>('app')
export type AppId = z.infer<typeof AppId>
export const EnvId = id<'EnvId'>('env')
export type EnvId = z.infer<typeof EnvId>
export const RequestId = z.string().regex(/^[A-Za-z0-9._-]{1,64}$/)

/** A node names itself (PLACE-6), so its id is a host-like name, not a generated one. */
export const NODE_ID_PATTERN = /^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$/
export const NodeId = z
  .string()
  .regex(NODE_ID_PATTERN, 'must be 1 to 63 of a-z 0-9 . - and begin and end with a letter or digit')
  .brand<'NodeId'>()
export type NodeId = z.infer<typeof NodeId>

const make = (prefix: string, clock: Clock, random: Random) =>
  `${prefix}_${clock.wallMs().toString(36).padStart(9, '0').slice(-9)}${random.text(11)}`

export const newId = {
  instance: (clock: Clock, random: Random) => make('inst', clock, random) as InstanceId,
  org: (clock: Clock, random: Random) => make('org', clock, random) as OrgId,
  token: (clock: Clock, random: Random) => make('tok', clock, random) as TokenId,
  app: (clock: Clock, random: Random) => make('app', clock, random) as AppId,
  env: (clock: Clock, random: Random) => make('env', clock, random) as EnvId,
  request: (random: Random) => `req_${random.text(16)}`,
}
