package dev

import "strconv"

func itoa(n int) string { return strconv.Itoa(n) }

// words of the pages, by language.
var words = map[string]map[string]string{ //nolint:gochecknoglobals // a constant table
	"en": {
		"inbox": "Inbox", "instance": "a throwaway instance", "empty": "Nothing has come yet.",
		"emptyhint": "Every mail and text message that the service sends shows up here, at once. Nothing leaves this machine.",
		"time":      "Time", "to": "To", "code": "Code", "kind": "Kind", "clear": "Empty the inbox", "back": "All messages",
		"clock": "The clock of the service", "ahead": "ahead of the real time by", "days": "days", "advance": "Move ahead", "by": "By how much",
		"real": "Back to the real time", "hour": "1 hour", "day": "1 day", "month": "30 days", "limits": "Limits", "forget": "Forget all that counted",
		"limitshint": "Wrong passwords, codes and messages then count anew.", "html": "As HTML", "text": "As text", "open": "Open the link", "sms": "SMS",
		"gone": "This message is not there (any more)", "gonehint": "The last thousand are kept, until the inbox is emptied or the program ends.",
		"tools": "Clock and limits", "source": "As JSON",
	},
	"ru": {
		"inbox": "Входящие", "instance": "одноразовый экземпляр", "empty": "Пока ничего не пришло.",
		"emptyhint": "Здесь сразу появляется каждое письмо и SMS, которое отправляет сервис. Наружу ничего не уходит.",
		"time":      "Время", "to": "Кому", "code": "Код", "kind": "Вид", "clear": "Очистить", "back": "Все сообщения",
		"clock": "Часы сервиса", "ahead": "впереди настоящего времени на", "days": "дн.", "advance": "Перевести вперёд", "by": "На сколько",
		"real": "Вернуть настоящее время", "hour": "1 час", "day": "1 день", "month": "30 дней", "limits": "Ограничения", "forget": "Сбросить счётчики",
		"limitshint": "Неверные пароли, коды и сообщения начнут считаться заново.", "html": "Как HTML", "text": "Как текст", "open": "Открыть ссылку", "sms": "SMS",
		"gone": "Такого сообщения нет (или уже нет)", "gonehint": "Хранится последняя тысяча, пока входящие не очистят или программа не завершится.",
		"tools": "Часы и ограничения", "source": "Как JSON",
	},
}
