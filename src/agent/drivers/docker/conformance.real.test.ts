import { dockerHarness } from '../../../../tests/support/docker-harness.ts'
import { describeNeeds } from '../../../../tests/support/needs.ts'
import { driverConformance } from '../conformance.ts'

describeNeeds('docker', 'docker driver', () => {
  driverConformance('docker', () => dockerHarness(), {
    'exit code 137 is a code, not a signal': 'the engine folds signals into codes of 128 and more, so the two cannot be told apart',
    'logs are binary safe and keep the streams apart':
      'the engine keeps whole lines: a line that is never finished is not handed over; logs.real.test.ts proves it for whole lines',
  })
})
