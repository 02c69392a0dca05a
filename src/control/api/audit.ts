import { auditView } from '../model/views.ts'
import { listAudit } from '../store/events.ts'
import { type Handlers, reply } from './context.ts'
import type { ApiDeps } from './deps.ts'

export const auditHandlers = ({ store }: ApiDeps): Pick<Handlers, 'listAudit'> => ({
  async listAudit({ query, scope }) {
    const page = await listAudit(store.db, { scope, limit: query.limit, ...(query.cursor !== undefined && { cursor: query.cursor }) })
    return page.ok ? reply({ items: page.value.items.map(auditView), next_cursor: page.value.nextCursor }) : page
  },
})
