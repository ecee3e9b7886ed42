// The player page: plays one live stream by mpegts.js, shows how it does, and tries again when it ends.
// `window.pingoraLive` has what the page shows, for a console or a test: state, message, url, stats, errors, retries.
'use strict';

(() => {
  const DEFAULT_STREAM = 'live/demo';
  const READ_OUT_MS = 1000;
  // Seconds between tries, so that a page left open asks a stream that is not there seldom, yet is back soon.
  const RETRY_S = [1, 2, 3, 5, 8, 10];
  // Having played that long, the next failure starts the list above anew.
  const PLAYED_WELL_S = 5;
  // The server holds players for 10 s while a publisher comes back; silence beyond that is a dead connection.
  const SILENCE_S = 20;
  // The server sends what it has since the newest keyframe at once: a burst that would read as a bitrate.
  const BURST_S = 2;
  // No progress for that long while newer data is buffered beyond a gap: jump over the gap.
  const STUCK_S = 2;
  const MPEGTS_CONFIG = {
    isLive: true,
    enableStashBuffer: false,      // hand on each piece as it comes: the stash trades delay for throughput
    lazyLoad: false,               // a live stream must never be paused by the loader
    deferLoadAfterSourceOpen: false,
    autoCleanupSourceBuffer: true,
    autoCleanupMaxBackwardDuration: 60,
    autoCleanupMinBackwardDuration: 30,
    // Small lags are caught up by playing a little faster, large ones (a laptop that slept) by a jump.
    liveSync: true,
    liveSyncMaxLatency: 1.6,
    liveSyncTargetLatency: 0.9,
    liveSyncPlaybackRate: 1.15,
    liveBufferLatencyChasing: true,
    liveBufferLatencyMaxLatency: 6,
    liveBufferLatencyMinRemain: 1,
  };
  // A recording is all there: it is read as far ahead as the browser wants, and never chased.
  const RECORDING_CONFIG = { isLive: false, autoCleanupSourceBuffer: true };
  const STATE_WORDS = {
    stopped: 'Stopped',
    connecting: 'Connecting…',
    buffering: 'Waiting for data…',
    playing: 'Playing',
    paused: 'Paused',
    waiting: 'Waiting to try again',
    error: 'Cannot play',
  };

  const $ = (id) => document.getElementById(id);
  const video = $('video');
  const shared = window.pingoraLive = {
    state: 'stopped', message: '', url: '', stream: '', retries: 0, errors: [],
    stats: noStats(),
  };

  function noStats() {
    return {
      bitrateKbps: null, bufferS: null, latencyS: null, decodedFrames: 0, droppedFrames: 0,
      width: 0, height: 0, videoCodec: '', audioCodec: '', currentTime: 0, readyState: 0,
    };
  }

  let player = null;
  let retryTimer = null;
  let openedAt = 0;
  let attempt = 0;            // index into RETRY_S
  let speeds = [];            // the last samples of mpegts.js, KiB/s
  let media = {};             // what mpegts.js found in the stream
  let playingSince = null;
  let lastTime = 0;           // currentTime at the last read-out, and when it last moved or data last came
  let movedAt = 0;
  let grewAt = 0;
  let lastEnd = 0;
  let userPaused = false;
  const recordings = new Set();   // the addresses of the files that the server lists
  let recorded = false;           // one of them is played

  const seconds = () => performance.now() / 1000;

  // ---- names and addresses ------------------------------------------------------------------------------

  // `live/livestream`, `/live/livestream.flv?x=1`, `http(s)://…` or `ws(s)://…` to an absolute address; throws what to tell.
  function resolve(text) {
    text = text.trim();
    if (!text) throw new Error('Give the name of a stream, for example live/livestream.');
    if (/^rtmps?:/i.test(text)) {
      // A browser has no RTMP. The same stream is here by HTTP when it is published to this server.
      const rtmp = new URL(text.replace(/^rtmps?:/i, 'http:'));
      text = rtmp.pathname.replace(/^\/+/, '') + rtmp.search;
    }
    if (/^[a-z][a-z0-9+.-]*:\/\//i.test(text)) {
      const url = new URL(text);
      if (!/^(https?|wss?):$/.test(url.protocol)) throw new Error(`A browser cannot play ${url.protocol}//. Use http, https, ws or wss.`);
      return url.href;
    }
    const url = new URL(text.replace(/^\/+/, ''), new URL('.', location.href));
    if (!/\.[a-z0-9]+$/i.test(url.pathname)) url.pathname += '.flv';
    return url.href;
  }

  // What `ffmpeg` would publish to for the stream of that address: the default ports, since HTTP does not tell the others.
  function publishAddress(url) {
    const { hostname, pathname } = new URL(url);
    const path = decodeURIComponent(pathname).replace(/^\/+/, '').replace(/\.[a-z0-9]+$/i, '');
    const cut = path.lastIndexOf('/');
    return {
      server: `rtmp://${hostname}:1935/${cut < 0 ? 'live' : path.slice(0, cut)}`,
      key: path.slice(cut + 1),
    };
  }

  function publishCommand(url) {
    const { server, key } = publishAddress(url);
    return `ffmpeg -re -i FILE -c:v libx264 -c:a aac -f flv '${server}/${key}'`;
  }

  // ---- what is shown ------------------------------------------------------------------------------------

  function setState(state, words) {
    shared.state = state;
    $('state').dataset.state = state;
    const text = words || STATE_WORDS[state];
    if ($('state').textContent !== text) $('state').textContent = text;
  }

  function say(message) {
    if (shared.message === message) return;   // a screen reader need not hear it at each try
    shared.message = message;
    $('message').textContent = message;
    $('message').hidden = !message;
  }

  function showHelp(url) {
    // The demo's own name is taken, so the example publishes beside it.
    const own = shared.stream === DEFAULT_STREAM || recorded ? resolve('live/livestream') : url;
    const { server, key } = publishAddress(own);
    $('publish').textContent = publishCommand(own);
    $('obs-server').textContent = server;
    $('obs-key').textContent = key;
  }

  function frames() {
    if (video.getVideoPlaybackQuality) {
      const quality = video.getVideoPlaybackQuality();
      return [quality.totalVideoFrames, quality.droppedVideoFrames];
    }
    return [video.webkitDecodedFrameCount || 0, video.webkitDroppedFrameCount || 0];
  }

  // Seconds playable without a gap, and seconds up to the newest data.
  function buffered() {
    const ranges = video.buffered;
    if (!ranges.length) return { ahead: 0, behind: 0, end: 0, next: null };
    const now = video.currentTime;
    const end = ranges.end(ranges.length - 1);
    let ahead = 0;
    let next = null;
    for (let i = 0; i < ranges.length; i++) {
      // A tenth of a second of tolerance: sound and picture never start at quite the same time.
      if (ranges.start(i) <= now + 0.1 && now < ranges.end(i)) ahead = ranges.end(i) - now;
      else if (ranges.start(i) > now && next === null) next = ranges.start(i);
    }
    return { ahead, behind: Math.max(0, end - now), end, next };
  }

  function readOut() {
    const stats = shared.stats;
    const now = seconds();
    if (player) {
      const { ahead, behind, end, next } = buffered();
      const [decoded, dropped] = frames();
      // mpegts.js counts KiB; a kilobit is 1000 bits. A mean of some samples hides the burst of each keyframe.
      const known = speeds.filter((s) => s > 0);
      stats.bitrateKbps = known.length ? Math.round(known.reduce((a, b) => a + b, 0) / known.length * 8.192) : null;
      stats.bufferS = ahead;
      stats.latencyS = recorded ? null : behind;
      stats.decodedFrames = decoded;
      stats.droppedFrames = dropped;
      stats.width = video.videoWidth;
      stats.height = video.videoHeight;
      stats.videoCodec = media.hasVideo === false ? '' : (media.videoCodec || '');
      stats.audioCodec = media.hasAudio === false ? '' : (media.audioCodec || '');
      stats.currentTime = video.currentTime;
      stats.readyState = video.readyState;

      if (end !== lastEnd) { lastEnd = end; grewAt = now; }
      if (video.currentTime !== lastTime) { lastTime = video.currentTime; movedAt = now; }
      if (!video.paused && now - movedAt > STUCK_S && ahead < 0.2 && next !== null) {
        video.currentTime = next + 0.05;
        movedAt = now;
      }
      if (now - grewAt > SILENCE_S && !video.paused && !recorded) {
        again('Nothing has come from the server for a while.');
        return;
      }
      if (playingSince !== null && now - playingSince > PLAYED_WELL_S) attempt = 0;
    }
    const fixed = (value, digits, unit) => (player && value !== null ? `${value.toFixed(digits)} ${unit}` : '–');
    $('f-bitrate').textContent = fixed(stats.bitrateKbps, 0, 'kbit/s');
    $('f-buffer').textContent = fixed(stats.bufferS, 1, 's');
    $('f-latency').textContent = fixed(stats.latencyS, 1, 's');
    $('f-decoded').textContent = player ? String(stats.decodedFrames) : '–';
    $('f-dropped').textContent = player ? String(stats.droppedFrames) : '–';
    $('f-picture').textContent = player && stats.width ? `${stats.width} × ${stats.height}` : '–';
    $('f-codecs').textContent = (player && [stats.videoCodec, stats.audioCodec].filter(Boolean).join(', ')) || '–';
  }

  function showMute() {
    $('unmute').hidden = !player || !video.muted;
  }

  // ---- playing ------------------------------------------------------------------------------------------

  function close() {
    clearTimeout(retryTimer);
    retryTimer = null;
    playingSince = null;
    if (player) {
      const old = player;
      player = null;          // first, so that the events of its end are not taken for news
      old.destroy();
    }
    $('sound-only').hidden = true;
    showMute();
  }

  function open() {
    close();
    speeds = [];
    media = {};
    shared.stats = noStats();
    lastEnd = lastTime = 0;
    openedAt = grewAt = movedAt = seconds();
    setState('connecting');
    const { pathname } = new URL(shared.url);
    const type = /\.ts$/i.test(pathname) ? 'mpegts' : 'flv';
    const config = recorded ? RECORDING_CONFIG : MPEGTS_CONFIG;
    const mine = recorded && /\.mp4$/i.test(pathname) ? native()
      : mpegts.createPlayer({ type, isLive: !recorded, cors: true, url: shared.url }, config);
    player = mine;
    mine.on(mpegts.Events.ERROR, (kind, detail, info) => { if (player === mine) failed(kind, detail, info); });
    mine.on(mpegts.Events.LOADING_COMPLETE, () => { if (player === mine) playOut(mine); });
    mine.on(mpegts.Events.MEDIA_INFO, (found) => {
      if (player !== mine) return;
      media = found;
      $('sound-only').hidden = found.hasVideo !== false;
    });
    mine.on(mpegts.Events.STATISTICS_INFO, (info) => {
      if (player !== mine || seconds() - openedAt < BURST_S) return;
      speeds.push(info.speed);
      if (speeds.length > 5) speeds.shift();
    });
    mine.attachMediaElement(video);
    mine.load();
    showMute();
    start();
  }

  // The browser plays it by itself; the same few calls as a player of mpegts.js.
  function native() {
    const broken = () => failed('MediaError', 'native', { msg: video.error ? video.error.message : '' });
    return {
      on() {},
      attachMediaElement() { video.addEventListener('error', broken); },
      load() { video.src = shared.url; },
      destroy() {
        video.removeEventListener('error', broken);
        video.removeAttribute('src');
        video.load();
      },
    };
  }

  // The stream is over; what is buffered is still to be seen.
  function playOut(mine) {
    if (recorded) return;
    const left = video.paused ? 0 : buffered().ahead;
    retryTimer = setTimeout(() => { if (player === mine) again('The stream has ended.'); }, left * 1000);
  }

  function start() {
    userPaused = false;
    Promise.resolve(video.play()).catch((error) => {
      // With the sound on, a browser may want a click first: play without sound rather than not at all.
      if (error && error.name === 'NotAllowedError' && !video.muted) {
        video.muted = true;
        video.play().catch(() => {});
      }
    });
  }

  function endingOf(url) {
    const ending = /\.[a-z0-9]+$/.exec(new URL(url, location.href).pathname);
    return ending ? ending[0] : 'this format';
  }

  // The errors of mpegts.js in plain words; the second value says whether to try again.
  function explain(kind, detail, info) {
    const code = info && info.code;
    const msg = (info && info.msg) || '';
    const E = mpegts.ErrorDetails;
    if (detail === E.NETWORK_STATUS_CODE_INVALID) {
      if (code === 404) return [`There is no such stream at the moment: ${shared.url}\nPublish one with:\n${publishCommand(shared.url)}`, true];
      if (code === 401) return ['This stream needs a signed address (401): ask for one where you found it.', false];
      if (code === 403) return [`The server does not let you play this stream (${code}).`, false];
      if (code === 400) return ['The server does not understand this address (400). Check the name of the stream.', false];
      if (code === 415) return [`The stream has nothing for a player of ${endingOf(shared.url)} (415).`, false];
      if (code === 503 || code === 429) return [`The server cannot take more players now (${code}).`, true];
      return [`The server answered ${code} ${msg}`.trim() + '.', code >= 500];
    }
    if (detail === E.NETWORK_EXCEPTION) {
      return [location.protocol === 'https:' && /^(http|ws):/.test(shared.url)
        ? 'A page that came by https may not play a stream that comes by plain http. Use an https address.'
        : `The server cannot be reached, or does not let this page play its streams (CORS). ${msg}`.trim(), true];
    }
    if (detail === E.NETWORK_TIMEOUT) return ['The server does not answer.', true];
    if (detail === E.NETWORK_UNRECOVERABLE_EARLY_EOF) return ['The connection broke.', true];
    if (detail === E.MEDIA_CODEC_UNSUPPORTED || detail === E.MEDIA_MSE_ERROR && /codec|type/i.test(msg)) {
      return [`This browser cannot decode the stream. ${msg}`.trim(), false];
    }
    if (detail === E.MEDIA_FORMAT_UNSUPPORTED || detail === E.MEDIA_FORMAT_ERROR) {
      return [`What came is not a stream this player understands. ${msg}`.trim(), true];
    }
    return [`The player failed: ${kind} ${detail} ${msg}`.trim(), true];
  }

  function failed(kind, detail, info) {
    const [message, retry] = explain(kind, detail, info);
    shared.errors.push({ kind, detail, code: info && info.code, msg: info && info.msg, message });
    if (retry && !recorded) {
      again(message);
    } else {
      close();
      setState('error');
      say(message);
    }
  }

  function again(message) {
    close();
    const wait = RETRY_S[Math.min(attempt, RETRY_S.length - 1)];
    attempt += 1;
    shared.retries += 1;
    say(message);
    let left = wait;
    const tick = () => {
      if (left <= 0) { open(); return; }
      setState('waiting', `Trying again in ${left} s`);
      left -= 1;
      retryTimer = setTimeout(tick, 1000);
    };
    tick();
  }

  function choose(text, remember) {
    close();
    try {
      shared.url = resolve(text);
    } catch (error) {
      setState('error');
      say(error instanceof TypeError ? 'That is not an address.' : error.message);
      return;
    }
    shared.stream = text.trim();
    recorded = recordings.has(shared.url);
    $('stream').value = shared.stream;
    attempt = 0;
    say('');
    showHelp(shared.url);
    document.title = `${shared.stream} – pingora-live player`;
    if (remember) {
      const page = new URL(location.href);
      page.searchParams.set('stream', shared.stream);
      history.replaceState(null, '', page);
    }
    if (!mpegts.isSupported()) {
      setState('error');
      say(`This browser has no Media Source Extensions, which the player needs. Open the stream in VLC: ${shared.url}`);
      return;
    }
    open();
  }

  // ---- events -------------------------------------------------------------------------------------------

  video.addEventListener('playing', () => {
    if (!player) return;
    if (playingSince === null) playingSince = seconds();
    setState('playing');
    say('');
  });
  video.addEventListener('waiting', () => { if (player && !userPaused) setState('buffering'); });
  video.addEventListener('pause', () => {
    // Also fired when the player is taken down, which is not the viewer's doing.
    if (!player || video.ended) return;
    userPaused = true;
    setState('paused');
  });
  video.addEventListener('play', () => {
    // After a pause, the viewer wants what is live now.
    if (player && userPaused && !recorded && video.buffered.length) {
      const end = video.buffered.end(video.buffered.length - 1);
      if (end - video.currentTime > 2) video.currentTime = end - 1;
    }
    userPaused = false;
    grewAt = movedAt = seconds();
  });
  video.addEventListener('ended', () => { if (player && recorded) setState('stopped', 'The recording is over'); });
  video.addEventListener('volumechange', showMute);
  $('unmute').addEventListener('click', () => {
    video.muted = false;
    if (video.volume === 0) video.volume = 1;
    if (video.paused) start();
  });
  $('form').addEventListener('submit', (event) => {
    event.preventDefault();
    choose($('stream').value, true);
  });
  $('stop').addEventListener('click', () => {
    close();
    setState('stopped');
    say('');
    readOut();
  });

  // ---- recordings ---------------------------------------------------------------------------------------

  async function listRecordings() {
    const answer = await fetch('player/files.json');
    if (!answer.ok) return;
    const { files, truncated } = await answer.json();
    for (const { name, url, size, mtime } of files) {
      recordings.add(resolve(url));
      const button = document.createElement('button');
      button.type = 'button';
      button.className = 'quiet';
      button.textContent = name;
      button.addEventListener('click', () => choose(url, true));
      const about = document.createElement('span');
      about.textContent = `${(size / 1e6).toFixed(1)} MB, ${new Date(mtime * 1000).toLocaleString()}`;
      const item = document.createElement('li');
      item.append(button, about);
      $('recording-list').append(item);
    }
    $('recordings').hidden = !files.length;
    $('recordings-more').hidden = !truncated;
  }

  setInterval(readOut, READ_OUT_MS);
  const listed = listRecordings().catch(() => {});   // a page without them plays as well
  const asked = new URLSearchParams(location.search).get('stream');
  if (asked) {
    // It may be one of them.
    listed.then(() => choose(asked, false));
  } else {
    choose(DEFAULT_STREAM, false);
  }
})();
