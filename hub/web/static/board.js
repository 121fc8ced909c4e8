// Optional: says politely when there is something new on the board. It asks once a minute while the
// page is seen, less often while nothing comes, and never moves what is being read.
(function () {
  var line = document.querySelector("[data-poll]");
  var since = line && Math.floor(line.getAttribute("data-poll") / 1e3);
  var wait = 60;

  function later() {
    if (since) setTimeout(ask, wait * 1e3);
  }

  function ask() {
    if (document.hidden) return later();
    var request = new XMLHttpRequest();
    request.open("GET", "/notices.json");
    request.onloadend = function () {
      wait = Math.min(wait * 2, 300);
      if (request.status === 200) {
        var count = JSON.parse(request.responseText).items.filter(function (item) {
          return Date.parse(item.date_published) / 1e3 > since;
        }).length;
        if (count) {
          var link = document.createElement("a");
          link.href = location.pathname;
          link.textContent = line.getAttribute("data-new").replace("#", count);
          line.textContent = "";
          line.appendChild(link);
          wait = 60;
        }
      }
      later();
    };
    request.send();
  }

  later();
})();
