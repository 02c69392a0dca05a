/** The errno of a system error, or the code of a library's, such as ENOENT: made for programs, so it is safe to branch on. Undefined for anything else. */
export const errnoOf = (error: unknown): string | undefined =>
  error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined
