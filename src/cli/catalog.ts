// Every verb of the command line, in the order of --help.
import type { ListedVerb } from './verb.ts'
import { agent } from './verbs/agent.ts'
import { label, metadata } from './verbs/attributes.ts'
import { audit } from './verbs/audit.ts'
import { chaos, chaosList } from './verbs/chaos.ts'
import { completion } from './verbs/completion.ts'
import { deploy } from './verbs/deploy.ts'
import { doctor } from './verbs/doctor.ts'
import { down } from './verbs/down.ts'
import { events } from './verbs/events.ts'
import { exec } from './verbs/exec.ts'
import { gc } from './verbs/gc.ts'
import { history } from './verbs/history.ts'
import { launch } from './verbs/launch.ts'
import { LIFECYCLE } from './verbs/lifecycle.ts'
import { list } from './verbs/list.ts'
import { logs } from './verbs/logs.ts'
import { checks, recovery } from './verbs/modes.ts'
import { nodes, nodesCordon, nodesShow, nodesUncordon } from './verbs/nodes.ts'
import { orgs, orgsCreate } from './verbs/orgs.ts'
import { server } from './verbs/server.ts'
import { show } from './verbs/show.ts'
import { stats } from './verbs/stats.ts'
import { status } from './verbs/status.ts'
import { tokens, tokensCreate, tokensRevoke } from './verbs/tokens.ts'
import { undeploy } from './verbs/undeploy.ts'
import { up } from './verbs/up.ts'
import { wait } from './verbs/wait.ts'
import { why } from './verbs/why.ts'

export const VERBS: readonly ListedVerb[] = [
  up,
  down,
  server,
  agent,
  doctor,
  deploy,
  undeploy,
  launch,
  status,
  list,
  show,
  why,
  history,
  logs,
  stats,
  events,
  audit,
  ...LIFECYCLE,
  recovery,
  checks,
  exec,
  wait,
  label,
  metadata,
  nodes,
  nodesShow,
  nodesCordon,
  nodesUncordon,
  orgs,
  orgsCreate,
  tokens,
  tokensCreate,
  tokensRevoke,
  gc,
  chaos,
  chaosList,
  completion(() => VERBS),
]
