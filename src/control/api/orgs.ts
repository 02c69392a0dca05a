// Organisations and tokens. A secret is made here, shown once, and only its SHA-256 goes to the store.
import { ok } from '../../base/result.ts'
import { newId } from '../../contracts/ids.ts'
import { orgView, tokenView } from '../model/views.ts'
import type { Tx } from '../store/db.ts'
import { createOrg, createToken, findOrg, listOrgs, listTokens, revokeToken } from '../store/orgs.ts'
import { type Callers, hashSecret } from './caller.ts'
import { change, type Handlers, refuseOrgBound, reply } from './context.ts'
import type { ApiDeps } from './deps.ts'

type Routes = 'listOrgs' | 'createOrg' | 'listTokens' | 'createToken' | 'deleteToken'

const SECRET_LENGTH = 40
export const newSecret = (random: ApiDeps['random']): string => `hft_${random.text(SECRET_LENGTH)}`

export function orgHandlers(deps: ApiDeps, callers: Callers): Pick<Handlers, Routes> {
  const { store, clock, random } = deps
  return {
    async listOrgs({ query, scope }) {
      const page = await listOrgs(store.db, { scope, limit: query.limit, ...(query.cursor !== undefined && { cursor: query.cursor }) })
      return page.ok ? reply({ items: page.value.items.map(orgView), next_cursor: page.value.nextCursor }) : page
    },
    async createOrg(context) {
      const allowed = refuseOrgBound(context.caller, 'Creating organisations')
      if (!allowed.ok) return allowed
      const { name } = context.body
      const id = newId.org(clock, random)
      return change(store, context, 201, {
        orgId: null,
        target: name,
        run: async (tx) => {
          const made = await createOrg(tx, { id, name })
          return made.ok ? ok({ body: orgView(made.value), target: id }) : made
        },
      })
    },
    async listTokens({ query, scope }) {
      const page = await listTokens(store.db, { scope, limit: query.limit, ...(query.cursor !== undefined && { cursor: query.cursor }) })
      return page.ok ? reply({ items: page.value.items.map(tokenView), next_cursor: page.value.nextCursor }) : page
    },
    async createToken(context) {
      const { name, role, org } = context.body
      // Without an organisation the token is for what its maker may see: never for more.
      const found = org === undefined ? ok(null) : await findOrg(store.db, org, context.scope)
      if (!found.ok) return found
      const orgId = found.value?.id ?? context.scope
      const secret = newSecret(random)
      const id = newId.token(clock, random)
      return change(store, context, 201, {
        orgId,
        target: name,
        run: async (tx) => {
          const made = await createToken(tx, { id, name, orgId, role, hash: hashSecret(secret) })
          if (!made.ok) return made
          const view = tokenView(made.value)
          return ok({ body: { ...view, secret }, replayBody: { ...view, secret: '' }, target: id, auditData: { name, role } })
        },
      })
    },
    async deleteToken(context) {
      const { params, query, scope, caller } = context
      let revokedId = ''
      const done = await change<'deleteToken', Tx>(store, context, 204, {
        orgId: scope,
        target: params.id,
        run: async (tx) => {
          const revoked = await revokeToken(tx, params.id, scope, { ownId: caller.token.id, force: query.force === true })
          if (!revoked.ok) return revoked
          revokedId = revoked.value.id
          return ok({ body: undefined, target: revoked.value.id, auditData: { name: revoked.value.name } })
        },
      })
      // After the commit: before it, another request could have found the token once more and remembered it.
      callers.forget(revokedId)
      return done
    },
  }
}
