package account

import "strings"

// Words are the sentences of one code for people. {name} stands for a value of
// [Fault.Args].
type Words struct{ EN, RU string }

// In gives the sentence in lang ("ru", else English) with its placeholders filled.
func (w Words) In(lang string, args map[string]string) string {
	s := w.EN
	if lang == "ru" {
		s = w.RU
	}
	for k, v := range args {
		s = strings.ReplaceAll(s, "{"+k+"}", v)
	}
	return s
}

// Text gives the words of the fault in lang.
func (f Fault) Text(lang string) string {
	if w, ok := Codes[f.Code]; ok {
		return w.In(lang, f.Args)
	}
	return string(f.Code)
}

// The codes of the rules. They are part of the API: never renamed, never reused.
const (
	CodeInvalidFields             Code = "invalid_fields"
	CodeReadOnlyField             Code = "read_only_field"
	CodeUserTypeUnknown           Code = "user_type_unknown"
	CodeRoleInvalid               Code = "role_invalid"
	CodePasswordTooShort          Code = "password_too_short"
	CodePasswordTooLong           Code = "password_too_long"
	CodePasswordCharacters        Code = "password_characters"
	CodePasswordCommon            Code = "password_common"
	CodePasswordPersonal          Code = "password_personal"
	CodeEmailTaken                Code = "email_taken"
	CodeUsernameTaken             Code = "username_taken"
	CodeContactNumberTaken        Code = "contact_number_taken"
	CodeAlreadyTaken              Code = "already_taken"
	CodeIdempotencyKeyReused      Code = "idempotency_key_reused"
	CodeInvalidCredentials        Code = "invalid_credentials"
	CodeTokenRequired             Code = "token_required"
	CodeTokenInvalid              Code = "token_invalid"
	CodeReauthenticationRequired  Code = "reauthentication_required"
	CodeWrongPassword             Code = "wrong_password"
	CodeRegistrationClosed        Code = "registration_closed"
	CodeUserNotFound              Code = "user_not_found"
	CodeSessionNotFound           Code = "session_not_found"
	CodePreconditionFailed        Code = "precondition_failed"
	CodeTooManyAttempts           Code = "too_many_attempts"
	CodeOverloaded                Code = "overloaded"
	CodeKeyInvalid                Code = "key_invalid"
	CodeKeyNameInvalid            Code = "key_name_invalid"
	CodeKeyNameTaken              Code = "key_name_taken"
	CodeKeyNotFound               Code = "key_not_found"
	CodeScopeUnknown              Code = "scope_unknown"
	CodeMessageNotFound           Code = "message_not_found"
	CodeMessageOver               Code = "message_over"
	CodeScopeMissing              Code = "scope_missing"
	CodeLinkInvalid               Code = "link_invalid"
	CodeWrongCode                 Code = "wrong_code"
	CodeCodeInvalid               Code = "code_invalid"
	CodeTokenOrCode               Code = "token_or_code"
	CodeContactUnknown            Code = "contact_unknown"
	CodeTooManyMessages           Code = "too_many_messages"
	CodeAlreadyVerified           Code = "already_verified"
	CodeNoContactNumber           Code = "no_contact_number"
	CodeSecondFactorRequired      Code = "second_factor_required"
	CodeSecondFactorEnrolment     Code = "second_factor_enrolment_required"
	CodeSecondFactorProofRequired Code = "second_factor_proof_required"
	CodeChallengeInvalid          Code = "challenge_invalid"
	CodeOneProof                  Code = "one_proof"
	CodeCodeOrPasskey             Code = "code_or_passkey"
	CodeFactorCodeInvalid         Code = "factor_code_invalid"
	CodeFactorExists              Code = "factor_exists"
	CodeFactorNotFound            Code = "factor_not_found"
	CodeNoFactor                  Code = "no_factor"
	CodeLastFactor                Code = "last_factor"
	CodeLastWayIn                 Code = "last_way_in"
	CodeNotOverAdmins             Code = "not_over_admins"
	CodeVerificationRequired      Code = "verification_required"
	CodePasskeysUnavailable       Code = "passkeys_unavailable"
	CodePasskeyRefused            Code = "passkey_refused"
	CodePasskeyUnverified         Code = "passkey_unverified"
	CodePasskeyChallenge          Code = "passkey_challenge_invalid"
	CodePasskeyMalformed          Code = "passkey_malformed"
	CodePasskeyNotAllowed         Code = "passkey_not_allowed"
	CodePasskeyExists             Code = "passkey_exists"
	CodePasskeyName               Code = "passkey_name_invalid"
	CodeTooManyPasskeys           Code = "too_many_passkeys"
	CodeFactorKindUnknown         Code = "factor_unknown"
)

// Codes is every code of the rules with its words.
var Codes = map[Code]Words{ //nolint:gochecknoglobals // a constant table
	CodeInvalidFields:             {EN: "Some fields are not valid.", RU: "Некоторые поля заполнены неверно."},
	CodeReadOnlyField:             {EN: "This field cannot be changed here.", RU: "Это поле здесь нельзя изменить."},
	CodeUserTypeUnknown:           {EN: "There is no such type of user.", RU: "Такого типа пользователя нет."},
	CodeRoleInvalid:               {EN: "A role is 1 to 64 letters, digits, hyphens and underscores.", RU: "Роль состоит из 1–64 букв, цифр, дефисов и подчёркиваний."},
	CodePasswordTooShort:          {EN: "The password must have at least {min} characters.", RU: "Пароль должен содержать не менее {min} символов."},
	CodePasswordTooLong:           {EN: "The password must have at most {max} characters.", RU: "Пароль должен содержать не более {max} символов."},
	CodePasswordCharacters:        {EN: "The password holds code points that are not characters.", RU: "Пароль содержит коды, которые не являются символами."},
	CodePasswordCommon:            {EN: "This password is among the most common ones and would be guessed at once. Take several unrelated words, or let a password manager make one.", RU: "Этот пароль входит в число самых распространённых, его сразу подберут. Возьмите несколько не связанных между собой слов или создайте пароль в менеджере паролей."},
	CodePasswordPersonal:          {EN: "This password is made of your own data and would be guessed early. Take several unrelated words, or let a password manager make one.", RU: "Этот пароль составлен из ваших же данных, его подберут одним из первых. Возьмите несколько не связанных между собой слов или создайте пароль в менеджере паролей."},
	CodeEmailTaken:                {EN: "That e-mail address is already in use.", RU: "Этот адрес электронной почты уже занят."},
	CodeUsernameTaken:             {EN: "That username, or one that looks like it, is already in use.", RU: "Это имя пользователя или похожее на него уже занято."},
	CodeContactNumberTaken:        {EN: "That phone number is already in use.", RU: "Этот номер телефона уже занят."},
	CodeAlreadyTaken:              {EN: "Some of these names are already in use.", RU: "Некоторые из этих имён уже заняты."},
	CodeIdempotencyKeyReused:      {EN: "This Idempotency-Key was used for another request.", RU: "Этот Idempotency-Key уже использован для другого запроса."},
	CodeInvalidCredentials:        {EN: "The name or the password is wrong.", RU: "Неверное имя или пароль."},
	CodeTokenRequired:             {EN: "This needs a token: get one with POST /auth/login and send it as \"Authorization: Bearer <token>\".", RU: "Нужен токен: получите его запросом POST /auth/login и передайте в заголовке «Authorization: Bearer <token>»."},
	CodeTokenInvalid:              {EN: "The token is unknown, expired or revoked: get a new one with POST /auth/login.", RU: "Токен неизвестен, истёк или отозван: получите новый запросом POST /auth/login."},
	CodeReauthenticationRequired:  {EN: "Prove again that it is you: send current_password along, or call POST /auth/reauthenticate first.", RU: "Подтвердите ещё раз, что это вы: передайте current_password или сначала вызовите POST /auth/reauthenticate."},
	CodeWrongPassword:             {EN: "The password is wrong.", RU: "Неверный пароль."},
	CodeRegistrationClosed:        {EN: "Registration is closed.", RU: "Регистрация закрыта."},
	CodeUserNotFound:              {EN: "There is no such user.", RU: "Такого пользователя нет."},
	CodeSessionNotFound:           {EN: "There is no such session.", RU: "Такого сеанса нет."},
	CodePreconditionFailed:        {EN: "The user has changed since you read it: read it again.", RU: "Данные пользователя изменились после вашего чтения: прочитайте их снова."},
	CodeTooManyAttempts:           {EN: "Too many attempts. Wait before the next one.", RU: "Слишком много попыток. Подождите перед следующей."},
	CodeOverloaded:                {EN: "The service has more to do than it can. Try again in a moment.", RU: "Сервис перегружен. Повторите попытку чуть позже."},
	CodeKeyInvalid:                {EN: "This needs the key of a service, made with propusk key add; the one that came along is missing, unknown, expired or revoked.", RU: "Нужен ключ сервиса, созданный командой propusk key add; переданный ключ отсутствует, неизвестен, истёк или отозван."},
	CodeKeyNameInvalid:            {EN: "The name of a key is 1 to 64 letters, digits, hyphens, underscores and dots, and not the form of an identifier (UUID).", RU: "Имя ключа состоит из 1–64 букв, цифр, дефисов, подчёркиваний и точек и не имеет вид идентификатора (UUID)."},
	CodeKeyNameTaken:              {EN: "There is a key with this name already.", RU: "Ключ с таким именем уже есть."},
	CodeMessageNotFound:           {EN: "There is no such message.", RU: "Такого сообщения нет."},
	CodeMessageOver:               {EN: "This message has been sent, or is no longer worth sending.", RU: "Это сообщение уже отправлено или больше не имеет смысла."},
	CodeKeyNotFound:               {EN: "There is no such key.", RU: "Такого ключа нет."},
	CodeScopeUnknown:              {EN: "A key needs at least one scope, and there is no other than introspect.", RU: "Ключу нужна хотя бы одна область действия; существует только introspect."},
	CodeScopeMissing:              {EN: "The key does not have the scope that this needs.", RU: "У ключа нет нужной области действия."},
	CodeLinkInvalid:               {EN: "This link was used already, has expired or was replaced by a newer one. Ask for another.", RU: "Эта ссылка уже использована, устарела или заменена более новой. Запросите другую."},
	CodeWrongCode:                 {EN: "The code is wrong or has expired.", RU: "Код неверен или устарел."},
	CodeCodeInvalid:               {EN: "The code is six digits.", RU: "Код состоит из шести цифр."},
	CodeTokenOrCode:               {EN: "Send either the token of the link or the code, and not both.", RU: "Передайте либо токен из ссылки, либо код, но не то и другое вместе."},
	CodeContactUnknown:            {EN: "This is either email or phone.", RU: "Здесь допустимы только email и phone."},
	CodeTooManyMessages:           {EN: "Enough messages were sent to this address. Look into the inbox and the folder for spam, or wait before you ask for another.", RU: "На этот адрес отправлено достаточно сообщений. Проверьте входящие и папку «Спам» или подождите, прежде чем запрашивать новое."},
	CodeAlreadyVerified:           {EN: "This is confirmed already.", RU: "Это уже подтверждено."},
	CodeNoContactNumber:           {EN: "The account has no phone number.", RU: "В учётной записи не указан номер телефона."},
	CodeVerificationRequired:      {EN: "Confirm your e-mail address first: open the link in the mail that was sent to it, or ask for another with POST /auth/verify/email/send.", RU: "Сначала подтвердите адрес электронной почты: откройте ссылку в отправленном письме или запросите новое через POST /auth/verify/email/send."},
	CodeSecondFactorRequired:      {EN: "The password is right; a second factor is needed too. Send it to POST /auth/login/second-factor with the challenge.", RU: "Пароль верен, но нужен ещё второй фактор. Передайте его вместе с challenge в POST /auth/login/second-factor."},
	CodeSecondFactorEnrolment:     {EN: "This account must have a second factor and has none yet. Add one with POST /auth/login/second-factor/enrol and the challenge.", RU: "Для этой учётной записи второй фактор обязателен, но его ещё нет. Добавьте его через POST /auth/login/second-factor/enrol, передав challenge."},
	CodeSecondFactorProofRequired: {EN: "Prove again that it is you, with your second factor: call POST /auth/reauthenticate.", RU: "Подтвердите ещё раз, что это вы, вторым фактором: вызовите POST /auth/reauthenticate."},
	CodeChallengeInvalid:          {EN: "This login was finished already or took too long. Begin anew.", RU: "Этот вход уже завершён или занял слишком много времени. Начните заново."},
	CodeOneProof:                  {EN: "Send one proof: a password, a code, or the answer of a passkey.", RU: "Передайте одно подтверждение: пароль, код или ответ ключа доступа (passkey)."},
	CodeCodeOrPasskey:             {EN: "Send either a code or the answer of a passkey.", RU: "Передайте либо код, либо ответ ключа доступа (passkey)."},
	CodeFactorCodeInvalid:         {EN: "This is neither a code of six digits nor a recovery code.", RU: "Это не код из шести цифр и не код восстановления."},
	CodeFactorExists:              {EN: "There is an authenticator app already. Remove it before you add another.", RU: "Приложение-аутентификатор уже подключено. Удалите его, прежде чем добавлять другое."},
	CodeFactorNotFound:            {EN: "There is no such second factor.", RU: "Такого второго фактора нет."},
	CodeNoFactor:                  {EN: "The account has no second factor that recovery codes could stand in for.", RU: "У учётной записи нет второго фактора, который могли бы заменить коды восстановления."},
	CodeLastFactor:                {EN: "This account must have a second factor: add another before you remove this one.", RU: "Для этой учётной записи второй фактор обязателен: добавьте другой, прежде чем удалять этот."},
	CodeLastWayIn:                 {EN: "Without this nobody could log in to the account any more. Set a password or confirm an e-mail address first.", RU: "Без этого в учётную запись никто не сможет войти. Сначала задайте пароль или подтвердите адрес почты."},
	CodeNotOverAdmins:             {EN: "This cannot be done to an Admin here; the operator can, with the command line.", RU: "С администратором это сделать здесь нельзя; это может оператор из командной строки."},
	CodePasskeysUnavailable:       {EN: "This service has no passkeys: they need an address with a name, by HTTPS or on localhost, which its operator has not set.", RU: "На этом сервисе нет ключей доступа (passkey): им нужен адрес с именем, по HTTPS или на localhost, а оператор такого не указал."},
	CodePasskeyRefused:            {EN: "This passkey was not accepted here.", RU: "Этот ключ доступа (passkey) здесь не принят."},
	CodePasskeyUnverified:         {EN: "The passkey did not verify that it is you, by a PIN, a finger or a face. Log in with your password, and use it as the second factor.", RU: "Ключ доступа (passkey) не подтвердил PIN-кодом, отпечатком или лицом, что это вы. Войдите с паролем и используйте его как второй фактор."},
	CodePasskeyChallenge:          {EN: "This took too long, or was answered already. Ask for new options and try again.", RU: "Прошло слишком много времени, или ответ уже был дан. Запросите новые параметры и попробуйте ещё раз."},
	CodePasskeyMalformed:          {EN: "This is not what PublicKeyCredential.toJSON() gives.", RU: "Это не то, что возвращает PublicKeyCredential.toJSON()."},
	CodePasskeyNotAllowed:         {EN: "This service takes only passkeys of certain models, and this is none of them.", RU: "Сервис принимает ключи доступа (passkey) только определённых моделей, и этот к ним не относится."},
	CodePasskeyExists:             {EN: "This passkey was added already.", RU: "Этот ключ доступа (passkey) уже добавлен."},
	CodePasskeyName:               {EN: "The name of a passkey is 1 to 64 characters on one line.", RU: "Название ключа доступа (passkey) — от 1 до 64 символов в одну строку."},
	CodeTooManyPasskeys:           {EN: "There are twenty passkeys already. Remove one before you add another.", RU: "Ключей доступа (passkey) уже двадцать. Удалите один, прежде чем добавлять другой."},
	CodeFactorKindUnknown:         {EN: "This is either totp or passkey.", RU: "Здесь допустимы только totp и passkey."},
	CodeRequired:                  {EN: "This field is required.", RU: "Это поле нужно заполнить."},
	CodeEmailInvalid:              {EN: "This is not an e-mail address that mail can be sent to. Give one address, such as name@example.com.", RU: "Это не похоже на адрес электронной почты. Укажите один адрес, например name@example.com."},
	CodeUsernameInvalid:           {EN: "The username has characters that are not allowed. Use letters, digits and simple punctuation, without spaces and without @.", RU: "Имя пользователя содержит недопустимые символы. Используйте буквы, цифры и простые знаки препинания, без пробелов и без @."},
	CodeUsernameTooShort:          {EN: "The username must have at least {min} characters.", RU: "Имя пользователя должно содержать не менее {min} символов."},
	CodeUsernameTooLong:           {EN: "The username must have at most {max} characters.", RU: "Имя пользователя должно содержать не более {max} символов."},
	CodeUsernameLooksLikeID:       {EN: "The username must not have the form of an identifier (UUID).", RU: "Имя пользователя не должно иметь вид идентификатора (UUID)."},
	CodeUsernameMixedScripts:      {EN: "The username mixes alphabets that are not written together. Keep to one of them.", RU: "В имени пользователя смешаны алфавиты, которые вместе не используются. Оставьте один из них."},
	CodeUsernameAmbiguous:         {EN: "The username has letters that can be taken for those of another alphabet, so it could be read as somebody else's. Choose another one.", RU: "В имени пользователя есть буквы, похожие на буквы другого алфавита, и его можно принять за чужое. Выберите другое имя."},
	CodeContactNumberInvalid:      {EN: "This is not a valid phone number. Give it with the country code, such as +7 985 355-38-25, without letters and without an extension.", RU: "Это не похоже на действующий номер телефона. Укажите его с кодом страны, например +7 985 355-38-25, без букв и без добавочного номера."},
}
