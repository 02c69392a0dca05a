import { type Failure, failure } from '../../contracts/errors.ts'

/** The holder of this epoch writes nothing any more. */
export const leaseLost = ({ name, epoch }: { readonly name: string; readonly epoch: number }): Failure =>
  failure('lease_lost', `Another replica of the control plane has taken over ${name}.`, { lease: name, epoch })
