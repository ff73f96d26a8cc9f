// Shows new messages as they come. Without this, the page shows them when it is
// loaded again.
const newest = document.currentScript.dataset.newest;

async function watch() {
  for (;;) {
    const begun = Date.now();
    try {
      const answer = await fetch("/dev/messages?limit=1&wait=10s&after=" + encodeURIComponent(newest));
      const { data } = await answer.json();
      if (data.messages.length > 0) {
        const typing = document.activeElement instanceof HTMLInputElement && document.activeElement.value !== "";
        if (!typing) {
          location.replace("/dev/inbox");
          return;
        }
      }
    } catch {
      // The program has ended, or begins anew.
    }
    if (Date.now() - begun < 1000) await new Promise((done) => setTimeout(done, 1000));
  }
}

watch();
