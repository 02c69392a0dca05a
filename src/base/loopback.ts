/** Whether a peer is this machine itself: its own address, not what a header claims. */
export const isLoopback = (address: string | undefined): boolean =>
  address !== undefined && (/^(::ffff:)?127\./.test(address) || address === '::1')
