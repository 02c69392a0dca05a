// While a simulation runs nothing may ask the real world for time or chance: whoever does gets an error, and the run is not what its
// seed says. In between, when others share the process, everything is as usual.

const FORBIDDEN: readonly (readonly [object: object, name: string])[] = [
  [globalThis, 'setTimeout'],
  [globalThis, 'setInterval'],
  [globalThis, 'setImmediate'],
  [globalThis, 'fetch'],
  [Date, 'now'],
  [Math, 'random'],
  [performance, 'now'],
  [AbortSignal, 'timeout'],
]

/** `breathe` gives the rest of the process a turn. */
export async function withoutRealTime<T>(run: (breathe: () => Promise<void>) => Promise<T>): Promise<T> {
  const real = FORBIDDEN.map(([object, name]) => [object, name, Object.getOwnPropertyDescriptor(object, name)] as const)
  const turn = setImmediate
  const forbid = () => {
    for (const [object, name] of FORBIDDEN)
      Object.defineProperty(object, name, {
        configurable: true,
        writable: true,
        value: () => {
          throw new Error(`${name} was called in a simulation`)
        },
      })
  }
  const allow = () => {
    for (const [object, name, descriptor] of real) {
      if (descriptor) Object.defineProperty(object, name, descriptor)
      else Reflect.deleteProperty(object, name)
    }
  }
  const breathe = async () => {
    allow()
    await new Promise<void>((resolve) => void turn(resolve))
    forbid()
  }
  forbid()
  try {
    return await run(breathe)
  } finally {
    allow()
  }
}
