import type { AppId, EnvId, OrgId } from '../../contracts/ids.ts'

/** An env of an app, with the manifest it should converge to. */
export interface EnvRecord {
  readonly id: EnvId
  readonly orgId: OrgId
  readonly appId: AppId
  readonly app: string
  readonly env: string
  /** The parsed manifest; contracts/manifest.ts checked it before it came here. */
  readonly manifest: Readonly<Record<string, unknown>>
  readonly manifestHash: string
  /** Set when the env and its instances shall go. */
  readonly deleting: boolean
  readonly createdAtMs: number
  readonly updatedAtMs: number
}
