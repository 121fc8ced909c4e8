// Optional: says politely when there is something new on the board. It asks once a minute while the
// page is seen, less often while nothing comes, and never moves what is being read.
(function () {
  var line = document.querySelector("[data-poll]");
  var newest = line && Math.floor(line.getAttribute("data-poll") / 1e3);
  if (!newest || !window.XMLHttpRequest) return;
  var wait = 60;
  var tag = "";

  function show(count) {
    var link = document.createElement("a");
    link.href = location.href;
    link.textContent = line.getAttribute("data-new").replace("#", count);
    line.textContent = "";
    line.appendChild(link);
  }

  function ask() {
    if (document.visibilityState === "hidden") return later();
    var request = new XMLHttpRequest();
    request.open("GET", "/notices.json");
    if (tag) request.setRequestHeader("If-None-Match", tag);
    request.onloadend = function () {
      var count = 0;
      if (request.status === 200) {
        tag = request.getResponseHeader("ETag");
        JSON.parse(request.responseText).items.forEach(function (item) {
          if (Math.floor(Date.parse(item.date_published) / 1e3) > newest) count++;
        });
        if (count) show(count);
      }
      wait = count ? 60 : Math.min(wait * 2, 300);
      later();
    };
    request.send();
  }

  function later() {
    setTimeout(ask, wait * 1e3);
  }

  later();
})();
