// The title and the icon of the page: what a person sees of it whose look is elsewhere.

import { hears } from '../link/machine';
import { summary } from '../model/derive';
import type { Page } from '../store/store';
import { line } from '../ui/harmless';
import type { Route } from './route';

export type Icon = 'failed' | 'idle' | 'lost' | 'running';

/** An icon and words, as one text, so that it changes only when they do. */
export function headline({ fleet, connection }: Pick<Page, 'fleet' | 'connection'>): string {
  // Nothing is known yet, or no more.
  if (!hears(connection)) return `lost|${connection.state === 'connecting' ? '(connecting)' : '(not live)'}`;
  const { running, broken } = summary([...fleet.vms.values()]);
  const words = [broken > 0 ? `${broken} in trouble` : '', running > 0 ? `${running} running` : ''].filter((part) => part !== '');
  return `${broken > 0 ? 'failed' : running > 0 ? 'running' : 'idle'}|${words.join(', ')}`;
}

/** The name of a view; empty for the fleet, which is the page itself. */
export function viewName(route: Route): string {
  switch (route.view) {
    case 'fleet':
      return '';
    case 'vm':
      return line(route.name);
    case 'runs':
      return 'Runs';
    case 'run':
      return `Run ${line(route.run)}`;
    case 'compare':
      return 'Two runs compared';
    case 'admin':
      return 'Administration';
    case 'nowhere':
      return 'There is nothing here';
  }
}

export function title(said: string, route: Route): string {
  const words = said.slice(said.indexOf('|') + 1);
  return [words, viewName(route), 'gatewatch'].filter((part) => part !== '').join(' · ').replace(') · ', ') ');
}
