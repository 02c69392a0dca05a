// How much the platform does by itself for one instance: health checks and recovery, changed while it runs.
import { err, ok } from '../../base/result.ts'
import { failure } from '../../contracts/errors.ts'
import { instanceView } from '../model/views.ts'
import { change, type Handlers } from './context.ts'
import type { CoreDeps } from './deps.ts'

export function modeHandlers({ store }: CoreDeps): Pick<Handlers, 'putRecovery'> {
  return {
    async putRecovery(context) {
      const { params, body, scope, ifVersion } = context
      const { mode, health_checks: checks } = body
      if (mode === undefined && checks === undefined)
        return err(failure('invalid_input', 'body: give mode, health_checks or both', { field: 'body' }))
      const found = await store.read.findInstance(params.id, scope)
      if (!found.ok) return found
      const { id, orgId } = found.value
      return change(store, context, 202, {
        orgId,
        target: id,
        run: async (tx) => {
          const done = await tx.changeDesired(id, (now) => {
            if (ifVersion !== null && ifVersion !== now.version)
              return err(
                failure('version_conflict', `${now.name} is at version ${now.version}.`, { expected: ifVersion, version: now.version }),
              )
            const wished = {
              ...(mode !== undefined && mode !== now.recoveryMode && { recoveryMode: mode }),
              ...(checks !== undefined && checks !== now.checksMode && { checksMode: checks }),
            }
            return ok(Object.keys(wished).length === 0 ? null : { verb: 'recovery', ...wished })
          })
          return done.ok ? ok({ body: instanceView(done.value), auditData: { ...body } }) : done
        },
      })
    },
  }
}
