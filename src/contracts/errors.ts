// The one closed table of errors. A code is chosen where the foreign error is met, never by matching text.
// `retry` says what a machine may do: never = the same request fails again; later = when something else changes;
// soon = a transient fault. `message` says what happened, `next` what the reader does about it.
// docs/errors.md is generated from this table and a test keeps them equal.

export type RetryClass = 'never' | 'later' | 'soon'

interface ErrorRow {
  readonly http: number
  readonly retry: RetryClass
  readonly message: string
  readonly next: string
}

const row = (http: number, retry: RetryClass, message: string, next: string): ErrorRow => ({ http, retry, message, next })

export const ERRORS = {
  // Requests
  invalid_input: row(400, 'never', 'The request is not valid.', 'Correct the named field and send it again.'),
  invalid_manifest: row(400, 'never', 'The manifest is not valid.', 'Correct the manifest, or name another one.'),
  invalid_selector: row(
    400,
    'never',
    'The label selector is not valid.',
    'Correct it at the named position; commas join terms such as app=web, tier!=db, zone in (a,b), canary, !old.',
  ),
  invalid_user_data: row(
    400,
    'never',
    'The user data is not valid.',
    'Send a #cloud-config YAML document or a #! script of at most 256 KiB without NUL bytes.',
  ),
  invalid_ssh_key: row(
    400,
    'never',
    'An SSH public key is not valid.',
    'Send one key per entry, as in a .pub file: type, base64, comment; no options, no line breaks.',
  ),
  invalid_idempotency_key: row(400, 'never', 'The Idempotency-Key is not valid.', 'Use 8 to 128 visible ASCII characters.'),
  body_too_large: row(413, 'never', 'The request body is too large.', 'Keep the body below 1 MiB, and user data below 256 KiB.'),
  unauthenticated: row(
    401,
    'never',
    'A valid token is needed.',
    'Set HOLDFAST_TOKEN, or run on the machine whose data directory holds operator.token.',
  ),
  forbidden: row(
    403,
    'never',
    'This token may not do that.',
    'Use a token with the operator role; what belongs to the whole platform needs one of the whole platform.',
  ),
  not_found: row(404, 'never', 'There is no such object.', 'Look it up with holdfast list; with --all it shows deleted ones too.'),
  unknown_route: row(404, 'never', 'The API has no such path.', 'docs/api.md lists all of them, and so does GET /openapi.json.'),
  ambiguous_id: row(409, 'never', 'More than one object matches.', 'Give the whole id.'),
  name_taken: row(409, 'never', 'The name is in use.', 'Choose another name, or delete the object that has it.'),
  version_conflict: row(
    412,
    'later',
    'The object has changed since you read it.',
    'Read it again and repeat the change with the new version.',
  ),
  lockout: row(
    409,
    'never',
    'Whoever works with this token would be locked out.',
    'Make another operator token with holdfast tokens create NAME --role operator and use that one, or add --force.',
  ),
  idempotency_conflict: row(409, 'never', 'This Idempotency-Key was used for a different request.', 'Use a new key for a new request.'),
  recovery_off: row(
    409,
    'never',
    'Recovery is off for this instance.',
    'Run holdfast recovery NAME on to permit it, or holdfast restart NAME to start it without.',
  ),
  wrong_state: row(
    409,
    'later',
    'The instance is not in a state that allows this.',
    'Run holdfast show to see its state, and holdfast why for the reason.',
  ),
  unsupported: row(422, 'never', 'The runtime of this instance cannot do that.', 'docs/runtimes says what each runtime can do.'),
  quota_exceeded: row(
    409,
    'later',
    'The quota of the organisation would be exceeded.',
    'Delete something, or ask the operator for a higher quota.',
  ),
  wait_timeout: row(504, 'later', 'The awaited state did not come in time.', 'Run holdfast why to see what it waits for.'),
  // The platform
  store_unavailable: row(
    503,
    'soon',
    'The database does not answer.',
    'Try again; look first whether a change was made all the same. If it lasts, check PostgreSQL and its disk.',
  ),
  control_unreachable: row(
    503,
    'soon',
    'The control plane does not answer.',
    'Start it with holdfast up, or set HOLDFAST_URL to where it runs.',
  ),
  node_unreachable: row(
    503,
    'soon',
    'The node of this instance is not connected.',
    'Check the agent on that node; its workloads keep running meanwhile.',
  ),
  node_id_taken: row(
    409,
    'later',
    'Another live agent uses this node id.',
    'Stop the other agent, or set HOLDFAST_NODE_ID to a different name.',
  ),
  invalid_config: row(500, 'never', 'The configuration is not valid.', 'Correct the named keys and start again.'),
  data_dir_in_use: row(409, 'later', 'Another holdfast runs on this data directory.', 'Use that one, stop it, or give another --data-dir.'),
  data_dir_unusable: row(500, 'later', 'The data directory cannot be used.', 'Make it writable for this user, or give another --data-dir.'),
  cancelled: row(409, 'later', 'The operation was cancelled.', 'Nothing to do: a newer wish replaced it.'),
  lease_lost: row(503, 'soon', 'Another replica of the control plane does this work now.', 'Nothing to do; it is tried again.'),
  too_many_requests: row(429, 'soon', 'Too many requests of this kind run at once.', 'Try again when some of them have ended.'),
  shutting_down: row(503, 'soon', 'The process is shutting down.', 'Try again when it is back.'),
  internal: row(
    500,
    'soon',
    'Something unexpected went wrong in Holdfast.',
    'Look for the request id in the log of the platform, and report it with those lines.',
  ),
  // Placement and admission
  no_node: row(
    409,
    'later',
    'No node can take this instance.',
    'Ask for less, or free or add a node; holdfast why says what each node lacks.',
  ),
  node_full: row(409, 'later', 'The node has no room for this memory cap.', 'Lower --memory, stop something, or add a node.'),
  node_pressure: row(
    409,
    'later',
    'The node is short of a resource.',
    'Free the named resource; new instances start again below the threshold.',
  ),
  // Runtimes
  runtime_unavailable: row(503, 'later', 'This runtime is not usable on the node.', 'Run holdfast doctor for what to install.'),
  runtime_unreachable: row(
    503,
    'soon',
    'The runtime does not answer.',
    'Check its daemon; instances keep their last known state until it answers.',
  ),
  runtime_error: row(502, 'soon', 'The runtime refused the operation.', 'Read the detail; holdfast logs may say more.'),
  image_not_found: row(
    422,
    'never',
    'The image does not exist or may not be read.',
    'Check its name and your login, then deploy again or run holdfast recover.',
  ),
  image_pull_failed: row(
    502,
    'soon',
    'The image could not be fetched.',
    'Check the network of the node and the registry; it is tried again.',
  ),
  command_not_found: row(
    422,
    'never',
    'The command does not exist or is not executable.',
    'Correct the command or the image, then launch again.',
  ),
  invalid_command: row(
    422,
    'never',
    'The command could not be started as given.',
    'Check command, user and working directory, then launch again.',
  ),
  port_in_use: row(409, 'later', 'A host port is already in use.', 'Use port 0 to have one chosen, or free the port.'),
  start_failed: row(502, 'soon', 'The instance could not be started.', 'Read the detail and holdfast logs; it is tried again.'),
  stop_failed: row(502, 'soon', 'The instance could not be stopped.', 'It is tried again; holdfast why shows the attempts.'),
  start_timeout: row(504, 'soon', 'The instance did not come up in time.', 'Read holdfast logs, or give its start check more time.'),
  mount_not_found: row(
    422,
    'later',
    'The source of a mount does not exist on the node.',
    'Create it on the node, or correct the path, then launch again.',
  ),
  network_not_found: row(
    422,
    'later',
    'The node has no Docker network of this name.',
    'Create it with docker network create, or correct the name, then launch again.',
  ),
  limits_unsupported: row(422, 'never', 'The node cannot enforce this limit.', 'Run holdfast doctor to see why.'),
  // What happened to a workload
  memory_limit_exceeded: row(500, 'soon', 'memory limit exceeded', 'Raise --memory, or find what uses it.'),
  exited: row(500, 'soon', 'The workload ended by itself.', 'Read holdfast logs, or with --previous those of the run before.'),
  one_shot_failed: row(
    500,
    'never',
    'The one-shot instance ended with an error.',
    'Read holdfast logs, correct the cause, then holdfast restart.',
  ),
  process_dead: row(
    500,
    'soon',
    'The process is gone.',
    'Read holdfast logs, or with --previous those of the run before; holdfast why tells what comes next.',
  ),
  socket_unreachable: row(
    500,
    'soon',
    'The control socket of the instance does not answer.',
    'It is recovered by itself; holdfast history shows the attempts.',
  ),
  health_check_failed: row(
    500,
    'soon',
    'The health check failed too often in a row.',
    'Run the check by hand with holdfast exec; read holdfast logs.',
  ),
  process_mismatch: row(
    500,
    'soon',
    'The running process is not the one this instance started.',
    'It is replaced by a new incarnation; nothing foreign is touched.',
  ),
  crash_loop: row(
    500,
    'later',
    'The workload ends again and again shortly after its start.',
    'Read holdfast logs, correct the cause, then holdfast recover.',
  ),
  not_verified: row(500, 'soon', 'The workload started but did not become ready.', 'Read holdfast logs; check its ready check.'),
  // This machine
  disk_full: row(507, 'later', 'The disk is full.', 'Free space on the named file system; nothing that was acknowledged is lost.'),
  file_error: row(500, 'soon', 'A file could not be read or written.', 'Check permissions and the disk of the data directory.'),
  exec_failed: row(502, 'soon', 'The command could not be run in the instance.', 'Check the command, its user and its time limit.'),
  cloud_init_failed: row(500, 'never', 'A cloud-init step failed.', 'Run holdfast show to see the step, its exit code and output.'),
} as const satisfies Record<string, ErrorRow>

export type ErrorCode = keyof typeof ERRORS

/** An expected failure. `detail` is one sentence with the particulars; `fields` are named facts a program may read. */
export interface Failure {
  readonly code: ErrorCode
  readonly detail: string
  readonly fields?: Readonly<Record<string, string | number | boolean | readonly string[]>>
  /** The foreign error, kept for logs; never sent over the wire. */
  readonly cause?: unknown
}

export const failure = (code: ErrorCode, detail: string, fields?: Failure['fields'], cause?: unknown): Failure => ({
  code,
  detail,
  ...(fields && { fields }),
  ...(cause !== undefined && { cause }),
})

/** Throwable form, for places where a value cannot travel: route handlers, start-up. */
export class HoldfastError extends Error {
  readonly failure: Failure
  constructor(given: Failure) {
    super(`${ERRORS[given.code].message} ${given.detail}`.trim(), given.cause === undefined ? undefined : { cause: given.cause })
    this.name = 'HoldfastError'
    this.failure = given
  }
}

export const RUNBOOK_BASE = 'docs/errors.md#'
