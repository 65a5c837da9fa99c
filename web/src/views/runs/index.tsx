// Runs that were and that go on, out of the journal.

export { CompareView } from './compare-view';
export { RunsView } from './list';
export { RunView } from './run';
