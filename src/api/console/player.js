// The picture of one stream, by mpegts.js. Small sibling of the player page's: it tries again when the stream ends, and says how it does.

import { $, say, show } from './dom.js';
import { bitrate } from './format.js';

const RETRY_S = [1, 2, 3, 5, 8, 10];
// Having played that long, the next failure starts the list above anew.
const PLAYED_WELL_MS = 5000;
const CONFIG = {
  isLive: true,
  enableWorker: false,
  enableStashBuffer: false,
  lazyLoad: false,
  deferLoadAfterSourceOpen: false,
  autoCleanupSourceBuffer: true,
  autoCleanupMaxBackwardDuration: 60,
  autoCleanupMinBackwardDuration: 30,
  liveSync: true,
  liveSyncMaxLatency: 1.6,
  liveSyncTargetLatency: 0.9,
  liveSyncPlaybackRate: 1.15,
  liveBufferLatencyChasing: true,
  liveBufferLatencyMaxLatency: 6,
  liveBufferLatencyMinRemain: 1,
};

export class Player {
  constructor() {
    this.video = $('video');
    this.player = null;
    this.timer = null;
    this.tries = 0;
    this.playingAt = null;
    this.speed = null;
    this.format = 'flv';
    this.addresses = {};
    this.video.addEventListener('playing', () => {
      if (!this.player) return;
      this.playingAt ??= performance.now();
      this.note('');
      this.fault('');
    });
    setInterval(() => this.tell(), 1000);
  }

  note(text) { say($('screen-note'), text); }

  fault(text) {
    say($('player-error'), text);
    show($('player-error'), Boolean(text));
  }

  tell() {
    if (!this.player) return;
    const { video } = this;
    const ranges = video.buffered;
    const end = ranges.length ? ranges.end(ranges.length - 1) : 0;
    const quality = video.getVideoPlaybackQuality?.();
    const parts = [];
    if (this.playingAt !== null && end) {
      parts.push(`${Math.max(0, end - video.currentTime).toFixed(1)} s behind live`);
      if (quality?.totalVideoFrames) parts.push(`${quality.droppedVideoFrames} of ${quality.totalVideoFrames} frames dropped`);
      if (this.speed) parts.push(bitrate(this.speed));
    }
    say($('player-state'), parts.join(', '));
    if (this.playingAt !== null && performance.now() - this.playingAt > PLAYED_WELL_MS) this.tries = 0;
  }

  // `addresses`: by format.
  open(addresses, format) {
    this.close();
    Object.assign(this, { addresses, format, speed: null, playingAt: null });
    const url = addresses[format];
    if (!window.mpegts?.isSupported()) {
      this.fault('This browser has no Media Source Extensions, which the player needs. Play one of the addresses below in VLC or ffplay.');
      return;
    }
    this.note('Connecting…');
    const mine = window.mpegts.createPlayer({ type: format === 'ts' ? 'mpegts' : 'flv', isLive: true, cors: true, url }, CONFIG);
    this.player = mine;
    const { Events } = window.mpegts;
    mine.on(Events.ERROR, (kind, detail, info) => { if (this.player === mine) this.failed(detail, info); });
    mine.on(Events.LOADING_COMPLETE, () => { if (this.player === mine) this.again('The stream has ended.'); });
    mine.on(Events.MEDIA_INFO, (media) => { if (this.player === mine && media.hasVideo === false) this.note('This stream has sound only.'); });
    mine.on(Events.STATISTICS_INFO, ({ speed }) => {
      if (this.player === mine && speed > 0) this.speed = (this.speed ?? speed * 8.192) * 0.7 + speed * 8.192 * 0.3;
    });
    mine.attachMediaElement(this.video);
    mine.load();
    Promise.resolve(this.video.play()).catch(() => {});
    say($('play'), 'Stop');
  }

  close() {
    clearTimeout(this.timer);
    this.timer = null;
    const old = this.player;
    this.player = null;   // first, so that the events of its end are not taken for news
    old?.destroy();
    this.note('Stopped');
    this.fault('');
    say($('player-state'), '');
    say($('play'), 'Play');
  }

  get wanted() { return this.player !== null || this.timer !== null; }

  failed(detail, info) {
    const code = info?.code;
    const E = window.mpegts.ErrorDetails;
    const url = this.addresses[this.format];
    if (detail === E.NETWORK_STATUS_CODE_INVALID) {
      if (code === 404) this.again('The stream is not there at the moment.');
      else if (code === 401 || code === 403) this.stop(`The server does not let this page play the stream (${code}). Players of it need more than its address.`);
      else if (code === 415) this.stop('The stream cannot be given in this format (415). Choose another one.');
      else if (code === 503) this.again('The server takes no more players (503).');
      else this.again(`The server answered ${code}.`);
    } else if (detail === E.NETWORK_EXCEPTION) {
      this.again(location.protocol === 'https:' && /^(http|ws):/.test(url)
        ? 'A page that came by https may not play what comes by plain http. Give an https address below.'
        : `Players’ address cannot be reached from here, or does not let this page play (CORS): ${new URL(url).origin}. Another one can be given below.`);
    } else if (detail === E.MEDIA_CODEC_UNSUPPORTED || (detail === E.MEDIA_MSE_ERROR && /codec|type/i.test(info?.msg || ''))) {
      this.stop('This browser cannot decode the stream.');
    } else {
      this.again('The connection broke.');
    }
  }

  stop(message) {
    this.close();
    this.fault(message);
  }

  again(message) {
    this.close();
    const wait = RETRY_S[Math.min(this.tries, RETRY_S.length - 1)];
    this.tries += 1;
    this.fault(message);
    this.note('Waiting to try again');
    say($('play'), 'Stop');
    this.timer = setTimeout(() => {
      const { addresses, format } = this;
      const keep = $('player-error').textContent;
      this.open(addresses, format);
      this.fault(keep);
    }, wait * 1000);
  }
}
