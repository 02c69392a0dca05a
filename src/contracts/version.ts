import packageJson from '../../package.json' with { type: 'json' }

/** Of the package, and so of each of its processes: they are released together. */
export const VERSION: string = packageJson.version
