// API versions such as 1.41: two numbers, compared as numbers (1.9 is older than 1.41).
const partsOf = (version: string): readonly [number, number] => {
  const [major = '0', minor = '0'] = version.split('.')
  return [Number.parseInt(major, 10) || 0, Number.parseInt(minor, 10) || 0]
}

export function isBelow(version: string, other: string): boolean {
  const [major, minor] = partsOf(version)
  const [otherMajor, otherMinor] = partsOf(other)
  return major === otherMajor ? minor < otherMinor : major < otherMajor
}

/** The older of the two, written as we write it: what the daemon says never reaches a path. */
export function pickVersion(offered: string, versionMax: string): string {
  return isBelow(offered, versionMax) ? partsOf(offered).join('.') : versionMax
}
