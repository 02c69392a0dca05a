import { describeNeeds } from '../../../../tests/support/needs.ts'
import { tmpDir } from '../../../../tests/support/tmp.ts'
import { driverConformance } from '../conformance.ts'
import { processHarness } from './conformance-harness.ts'

describeNeeds('perl', 'process driver', () => {
  driverConformance('process, without control groups', async () => processHarness(await tmpDir()))
})
