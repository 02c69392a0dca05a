/** A process that ended meanwhile, by itself or by somebody else, gets none. */
export function signalIfAlive(pid: number, signal: 'SIGKILL' | 'SIGCONT'): void {
  try {
    process.kill(pid, signal)
  } catch {
    // What has become of it is for the oracle to see, and for whoever supervises it.
  }
}
