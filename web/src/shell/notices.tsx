// What happened while the page did not see it.

import { dismiss, usePage, type Page } from '../store/store';
import { duration, some, time } from '../ui/format';
import { to } from './route';

const noticesOf = (page: Page) => page.notices;

export function Notices() {
  const notices = usePage(noticesOf);
  return (
    <div class="notices" role="log" aria-label="Notices">
      {notices.map(({ id, at, back }) => (
        <p key={id} class="banner banner-info" data-notice={back.anew ? 'anew' : 'missed'}>
          <span>
            {time(at / 1000)}: the connection was lost for {duration(back.lostFor / 1000)}.{' '}
            {back.anew ? (
              <>
                The gateway could not go on from there, so all is shown anew; <a href={to.runs()}>the runs</a> have what came before.
              </>
            ) : (
              `${back.results === 0 ? 'No result' : some(back.results, 'result')} came in meanwhile${back.results === 0 ? '' : ' and stand here now'}.`
            )}
          </span>
          <button type="button" class="small" onClick={() => dismiss(id)} aria-label="Dismiss this notice">
            ✕
          </button>
        </p>
      ))}
    </div>
  );
}
